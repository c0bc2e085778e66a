"""Pairs on disk: what comes back, and what happens to files that are damaged or of other pairs."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from bodystream.errors import InputError
from bodystream_training.flow.cache import CachedPairs, read_sample
from bodystream_training.flow.data import SyntheticPairs, open_pairs

SIZE = (64, 96)
GENERATOR = torch.Generator()


@pytest.fixture(scope="module")
def made():
    return SyntheticPairs(SIZE, 5, 0)


class Counted:
    """Pairs that count how often they are made."""

    def __init__(self, pairs):
        self.pairs, self.digest, self.size, self.calls = pairs, pairs.digest, pairs.size, 0

    def __len__(self):
        return len(self.pairs)

    def sample(self, index, generator):
        self.calls += 1
        return self.pairs.sample(index, generator)


def equal(a, b):
    return all(
        x == y if isinstance(x, type(a.intrinsics)) else x.tobytes() == y.tobytes()
        for x, y in ((getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    )


def files(folder):
    return sorted(folder.rglob("*.npz"))


def test_comes_back_as_it_was_made(made, tmp_path):
    counted = Counted(made)
    cached = CachedPairs(counted, tmp_path)
    for index in range(len(made)):
        first, again, wanted = (
            cached.sample(index, GENERATOR),
            cached.sample(index, GENERATOR),
            made.sample(index, GENERATOR),
        )
        assert equal(first, again)
        for name in ("source_rgb", "target_rgb", "mask", "target_mask", "visible"):
            assert np.array_equal(getattr(first, name), getattr(wanted, name)), name
        assert first.intrinsics == wanted.intrinsics
        assert np.allclose(first.source_depth_m, wanted.source_depth_m, atol=1e-6)
        assert np.allclose(first.flow_px, wanted.flow_px, rtol=2**-11, atol=1e-4, equal_nan=True)
        assert np.allclose(first.scene_flow_m, wanted.scene_flow_m, rtol=2**-11, atol=1e-6, equal_nan=True)
    assert counted.calls == len(made) and cached.remade == 0
    other = CachedPairs(counted, tmp_path)
    assert equal(other.sample(3, GENERATOR), cached.sample(3, GENERATOR)) and counted.calls == len(made)


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "other pair", "not an archive"])
def test_a_damaged_file_is_made_anew(made, tmp_path, how):
    cached = CachedPairs(made, tmp_path)
    wanted = cached.sample(1, GENERATOR)
    cached.sample(2, GENERATOR)
    path, neighbour = files(tmp_path)
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "other pair":
        shutil.copy(neighbour, path)
    else:
        path.write_bytes(b"no archive" * 100)
    assert equal(cached.sample(1, GENERATOR), wanted)
    assert cached.remade == 1
    assert equal(cached.sample(1, GENERATOR), wanted) and cached.remade == 1


def test_other_settings_have_files_of_their_own(made, tmp_path):
    other = SyntheticPairs(SIZE, 5, 1)
    a, b = CachedPairs(made, tmp_path).sample(0, GENERATOR), CachedPairs(other, tmp_path).sample(0, GENERATOR)
    assert not equal(a, b) and len(files(tmp_path)) == 2


def test_a_file_with_objects_is_refused(made, tmp_path):
    path = tmp_path / "objects.npz"
    np.savez(path, key=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="objects.npz"):
        read_sample(path, "any")


def test_a_file_that_lacks_an_array_or_has_another_shape_is_refused(made, tmp_path):
    cached = CachedPairs(made, tmp_path)
    cached.sample(0, GENERATOR)
    (path,) = files(tmp_path)
    with np.load(path) as archive:
        whole = dict(archive)
    key = bytes(whole["key"]).decode()
    for changed in (
        {name: values for name, values in whole.items() if name != "rgb"},
        whole | {"depth_mm": whole["depth_mm"][:, :-1]},
        whole | {"camera": whole["camera"][:3]},
        whole | {"camera": whole["camera"] * np.nan},
        whole | {"masks": whole["masks"][0]},
    ):
        np.savez(path, **changed)
        with pytest.raises(InputError):
            read_sample(path, key)


def test_a_folder_that_cannot_be_written_is_refused(made, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--cache"):
        open_pairs("synthetic", SIZE, count=5, cache=tmp_path / "file")
