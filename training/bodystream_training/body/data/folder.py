"""Folders of meshes that share their topology: one folder per identity, a neutral mesh in each."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from bodystream.body import AcapSpace, check_topology, check_upright
from bodystream.body.parts import PARTS
from bodystream.bundles.arrays import load_npz
from bodystream.errors import ConfigurationError, InputError
from bodystream.files import read_text_bounded
from bodystream.types import Array, Mesh
from bodystream_training.body.data.bodies import BodyItem, BodySet, aligned
from bodystream_training.body.data.segments import segmented

__all__ = ["MeshFolder", "read_mesh"]

_NEUTRAL = "neutral"
_ENDINGS = (".npz", ".obj", ".ply")
_MAX_BYTES = 256 << 20
_PARTS_FILE = "parts.npz"
_SEGMENTED_BY = 40


class MeshFolder(BodySet):
    """`FOLDER/IDENTITY/neutral.*` and `FOLDER/IDENTITY/MOTION.*`: OBJ, PLY, or `.npz` with `vertices` and `faces`.

    `FOLDER/parts.npz` may hold `parts` (V,), of each vertex the part it is in, from 0 on; without, vertices are put
    together that move together.

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
        return aligned(mesh.vertices, self._space.reference, np.ones(len(mesh.vertices), bool))

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
    return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in _ENDINGS}


def read_mesh(path: Path) -> Mesh:
    """A mesh of a file, vertices float64 in the order in which they are written.

    Raises:
        InputError: it cannot be read, or holds no triangles.
    """
    kind = path.suffix.lower()
    if kind == ".npz":
        arrays = load_npz(path, _MAX_BYTES)
        if not {"vertices", "faces"} <= set(arrays):
            raise InputError(f"{path} must hold vertices and faces")
        vertices, faces = arrays["vertices"], arrays["faces"]
    elif kind == ".obj":
        vertices, faces = _obj(path)
    else:
        import trimesh

        try:
            read = trimesh.load_mesh(path, process=False)
            vertices, faces = np.array(read.vertices), np.array(read.faces)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OSError) as error:
            raise InputError(f"{path} is not a readable mesh: {error}") from error
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise InputError(f"{path}: wanted vertices (V, 3) and triangles (F, 3), got {vertices.shape} and {faces.shape}")
    if vertices.dtype.kind != "f" or faces.dtype.kind not in "iu":
        raise InputError(f"{path}: wanted real vertices and whole faces, got {vertices.dtype} and {faces.dtype}")
    return Mesh(vertices.astype(np.float64), faces.astype(np.int32))


def _obj(path: Path) -> tuple[Array, Array]:
    """Places and triangles of a Wavefront file; vertices keep their order, which libraries that split them at seams of
    texture do not leave them."""
    vertices, faces = [], []
    for number, line in enumerate(read_text_bounded(path, _MAX_BYTES).splitlines(), 1):
        words = line.split()
        if not words or words[0] not in ("v", "f"):
            continue
        try:
            if words[0] == "v":
                vertices.append([float(word) for word in words[1:4]])
                good = len(vertices[-1]) == 3
            else:
                corners = [int(word.partition("/")[0]) for word in words[1:]]
                faces.append([c - 1 if c > 0 else len(vertices) + c for c in corners])
                good = len(corners) == 3
        except ValueError:
            good = False
        if not good:
            raise InputError(f"{path}, line {number}: wanted three numbers, got {line[:40]!r}: only triangles are read")
    if not vertices or not faces:
        raise InputError(f"{path} holds {len(vertices)} vertices and {len(faces)} faces")
    return np.array(vertices), np.array(faces)
