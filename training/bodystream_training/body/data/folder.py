"""Folders of meshes that share their topology: one folder per identity, a neutral mesh in each."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from bodystream.body import AcapSpace, BodySkin, aligned, check_topology, check_upright
from bodystream.body.parts import PARTS
from bodystream.body.skin import skin_of_arrays
from bodystream.bundles.arrays import load_npz
from bodystream.errors import ConfigurationError, InputError
from bodystream.sources.meshes import MESH_ENDINGS, read_mesh
from bodystream.types import Array
from bodystream_training.body.data.bodies import BodyItem, BodySet
from bodystream_training.body.data.segments import segmented

__all__ = ["MeshFolder"]

_NEUTRAL = "neutral"
_MAX_BYTES = 256 << 20
_PARTS_FILE, _SKIN_FILE = "parts.npz", "skin.npz"
_SEGMENTED_BY = 40


class MeshFolder(BodySet):
    """`FOLDER/IDENTITY/neutral.*` and `FOLDER/IDENTITY/MOTION.*`: OBJ, PLY, or `.npz` with `vertices` and `faces`.

    `FOLDER/parts.npz` may hold `parts` (V,), of each vertex the part it is in, from 0 on; without, vertices are put
    together that move together. `FOLDER/skin.npz` may hold the arrays of `BodySkin`.

    Args:
        folder: of the identities.
        test_share: of the identities, those for tests, at least one. seed: of who that is.

    Raises:
        InputError: there is nothing to read, an identity without a neutral mesh, a neutral mesh that cannot be the
            reference, parts that do not fit.
        ConfigurationError: a share that leaves nobody.
    """

    def __init__(self, folder: Path, test_share: float = 0.1, seed: int = 0) -> None:
        if not 0.0 < test_share < 1.0:
            raise ConfigurationError(f"the share of identities for tests must lie between 0 and 1, got {test_share}")
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: give one with a folder of meshes for each identity")
        found = {person.name: _meshes_in(person) for person in sorted(folder.iterdir()) if person.is_dir()}
        found = {name: files for name, files in found.items() if files}
        if len(found) < 2:
            raise InputError(f"{folder} has meshes of {len(found)} identities, two are needed, one of them for tests")
        for name, files in found.items():
            if _NEUTRAL not in files:
                raise InputError(
                    f"{folder / name} has no neutral mesh: name the one in which the person stands at rest "
                    f"{_NEUTRAL}.obj, .ply or .npz (there are {', '.join(sorted(files)[:4])})"
                )
        names = list(found)
        drawn = np.random.default_rng(seed).permutation(len(names))
        tests = {names[i] for i in drawn[: min(len(names) - 1, max(1, round(test_share * len(names))))]}
        self._paths: list[Path] = []
        self.items = []
        for name, files in found.items():
            split, neutral = ("test" if name in tests else "train"), len(self.items)
            for motion in [_NEUTRAL, *sorted(set(files) - {_NEUTRAL})]:
                self._paths.append(files[motion])
                shown = f"{name}/{files[motion].name}"
                self.items.append(BodyItem(shown, split, neutral, name, "" if motion == _NEUTRAL else motion))
        if not any(item.motion and item.split == "train" for item in self.items):
            raise InputError(f"{folder}: nobody to train on has a posed mesh beside the neutral one")
        first = next(number for number, item in enumerate(self.items) if item.split == "train")
        mesh = read_mesh(self._paths[first])
        check_topology(mesh.faces, len(mesh.vertices), str(self._paths[first]))
        check_upright(mesh.vertices, str(self._paths[first]))
        self.reference = mesh
        self._space = AcapSpace(mesh, str(self._paths[first]))
        self.laid_by = np.ones(len(mesh.vertices), bool)
        self._folder = folder
        self.labels = np.zeros(len(mesh.vertices), np.int64)
        self.labels = self._parts()
        self.parts = int(self.labels.max()) + 1
        self.recipe = {
            "kind": "meshes",
            "test_share": test_share,
            "seed": seed,
            "files": [
                (item.name, item.split, path.stat().st_size, path.stat().st_mtime_ns)
                for item, path in zip(self.items, self._paths, strict=True)
            ],
            "parts": hashlib.sha256(self.labels.tobytes()).hexdigest(),
        }

    def vertices(self, number: int) -> Array:
        path = self._paths[number]
        mesh = read_mesh(path)
        self._space.check(mesh, str(path))
        if not self.items[number].motion:
            check_upright(mesh.vertices, str(path))
        return aligned(mesh.vertices, self._space.reference, self.laid_by)

    def skin(self) -> BodySkin | None:
        path = self._folder / _SKIN_FILE
        if not path.is_file():
            return None
        try:
            skin = skin_of_arrays(load_npz(path, _MAX_BYTES), self._space.count)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if skin is None:
            raise InputError(f"{path} must hold joint_weights and skin_weights")
        return skin

    def _parts(self) -> Array:
        path = self._folder / _PARTS_FILE
        if path.is_file():
            labels = load_npz(path, _MAX_BYTES).get("parts")
            if labels is None or labels.shape != (self._space.count,) or labels.dtype.kind not in "iu":
                raise InputError(f"{path} must hold parts, a whole number for each of {self._space.count} vertices")
            return labels.astype(np.int64)
        posed = [n for n, item in enumerate(self.items) if item.split == "train" and item.motion]
        chosen = [posed[i] for i in np.linspace(0, len(posed) - 1, min(len(posed), _SEGMENTED_BY)).round().astype(int)]
        features = np.stack([self._space.features(self.vertices(number)) for number in chosen])
        return segmented(self._space.reference, features[:, :, :3], len(PARTS))


def _meshes_in(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in MESH_ENDINGS}
