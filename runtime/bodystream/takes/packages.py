"""The packages that takes need, which come with the extra `mcap`: imported when a take is opened or made."""

from __future__ import annotations

from bodystream.errors import MissingDependencyError

__all__ = ["REMEDY", "require_mcap"]

REMEDY = "Run: pip install 'bodystream[mcap]'"


def require_mcap() -> None:
    """See that the packages are there.

    Raises:
        MissingDependencyError: one of them is not.
    """
    try:
        import foxglove_schemas_protobuf.RawImage_pb2  # noqa: F401
        import lz4.frame  # noqa: F401
        import mcap.writer  # noqa: F401
        import mcap_protobuf.schema  # noqa: F401
        import zstandard  # noqa: F401
    except ImportError as error:
        package = (error.name or "mcap").partition(".")[0].replace("_", "-")
        raise MissingDependencyError(package, "for takes (.mcap)", REMEDY) from error
