"""What `bodystream doctor` says of bundles, of where they are looked for, and of what runs their networks here."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bodystream.bundles import (
    ENVIRONMENT_VARIABLE,
    KNOWN,
    Bundle,
    BundleChoice,
    bundle_folders,
    find_bundle,
    shipped_bundles,
)
from bodystream.bundles.known import remedy_for
from bodystream.cli.finding import Check, first_line
from bodystream.errors import BodystreamError

__all__ = ["check_bundles", "check_choice", "check_engines"]

_FEW = 4  # of a bundle's files that are listed one by one
_MEASURED = re.compile(r" \([a-z, .0-9]* ms\)")


def check_bundles() -> Iterator[Check]:
    """Each shipped or known bundle, with the hash of every file, and the folders for further ones."""
    for name in sorted({*shipped_bundles(), *KNOWN}):
        try:
            bundle = find_bundle(name)
            if name in KNOWN:
                bundle.require_kind(KNOWN[name].kind)
        except BodystreamError as error:
            needed = name not in KNOWN or KNOWN[name].distribution == "bodystream"
            remedy = remedy_for(name) or "pip install --force-reinstall --no-deps bodystream"
            yield Check(f"bundle {name}", "missing" if needed else "optional", first_line(error), remedy)
        else:
            yield Check(f"bundle {name}", "ok", _described(bundle))
    for folder in bundle_folders()[1:]:
        if folder.is_dir():
            yield Check("bundle folder", "ok", str(folder))
        else:
            yield Check("bundle folder", "optional", f"{folder} is not a folder", f"Correct {ENVIRONMENT_VARIABLE}")


def check_choice(choice: BundleChoice) -> Iterator[Check]:
    """The bundles that a user named, and what runs their networks."""
    for name in choice.places:
        try:
            bundle = choice.open(name)
        except BodystreamError as error:
            yield Check(f"chosen {name}", "missing", first_line(error), "Choose another one, or correct it")
        else:
            yield Check(f"chosen {name}", "ok", f"{bundle.manifest.name} in {bundle.place}: {_described(bundle)}")
            yield from _engines(f"chosen {name}", bundle)


def check_engines() -> Iterator[Check]:
    """What `auto` takes for each graph of the known bundles, and why: it is opened for real."""
    for name in KNOWN:
        try:
            bundle = find_bundle(name)
        except BodystreamError:
            continue  # told by `check_bundles`
        yield from _engines(name, bundle)


def _engines(name: str, bundle: Bundle) -> Iterator[Check]:
    """One line for each graph, or for all of a bundle with many that are run alike."""
    from bodystream.engines import open_engine

    alike: dict[str, list[str]] = {}
    for file, graph in bundle.manifest.graphs.items():
        try:
            engine = open_engine(bundle, file, sizes=dict.fromkeys(graph.open_names(), 1))
        except BodystreamError as error:
            yield Check(f"engine {name} {file}", "missing", first_line(error), "Install or export the bundle again")
        else:
            alike.setdefault(f"{engine.provider}: {engine.reason}", []).append(file)
    many = len(bundle.manifest.graphs) > _FEW
    if many:
        merged: dict[str, list[str]] = {}
        for found, files in alike.items():
            merged.setdefault(_MEASURED.sub("", found), []).extend(files)
        alike = merged
    for found, files in alike.items():
        for title in [f"{len(files)} graphs"] if many else files:
            yield Check(f"engine {name} {title}", "ok", found)


def _described(bundle: Bundle) -> str:
    manifest = bundle.manifest
    if len(manifest.files) > _FEW:
        files = f"{len(manifest.files)} files ({sum(file.bytes for file in manifest.files) / 2**20:.1f} MiB)"
    else:
        files = ", ".join(f"{file.path} {file.sha256[:12]} ({file.bytes / 2**20:.1f} MiB)" for file in manifest.files)
    return f"version {manifest.version}, {manifest.kind}, {manifest.licence}: {files}"
