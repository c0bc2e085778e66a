"""`--data`: which bodies."""

from __future__ import annotations

from pathlib import Path

from bodystream.errors import ConfigurationError, excerpt
from bodystream_training.body.data.bodies import BodySet

__all__ = ["open_bodies"]


def open_bodies(data: str, motion: str | None, neutral: int, posed: int, seed: int) -> BodySet:
    """The bodies of a specification: `generated` or `meshes:FOLDER`.

    Args:
        motion: files of motions, for generated people.
        neutral, posed: how many of them there are.

    Raises:
        ConfigurationError: another specification, or no motion where some is needed.
        MissingDependencyError, InputError: as `GeneratedBodies` and `MeshFolder`.
    """
    if data == "generated":
        if motion is None:
            raise ConfigurationError("generated people are posed by motion files: give --motion bvh:FOLDER")
        from bodystream_training.body.data.generated import GeneratedBodies, GeneratedConfig

        full = GeneratedConfig(seed=seed)
        share = full.test_neutral / full.neutral
        return GeneratedBodies(
            motion,
            GeneratedConfig(
                neutral=neutral,
                posed=posed,
                posing=max(2, round(full.posing * min(1.0, neutral / full.neutral))),
                test_neutral=max(2, round(share * neutral)),
                test_posed=max(1, round(full.test_posed / full.posed * posed)),
                seed=seed,
            ),
        )
    kind, _, folder = data.partition(":")
    if kind == "meshes" and folder:
        from bodystream_training.body.data.folder import MeshFolder

        return MeshFolder(Path(folder), seed=seed)
    raise ConfigurationError(f"--data {excerpt(data)}: give generated or meshes:FOLDER")
