"""Pairs in DeepDeform's layout: a generated take, its crops, and files that are absent or damaged."""

import json
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bodystream.device import select_device
from bodystream.errors import ConfigurationError, InputError
from bodystream.pipelines.samples import SampleSizes, write_samples
from bodystream_training.flow.data import open_pairs
from bodystream_training.flow.recorded import DeepDeformPairs

SIZE = (96, 128)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The generated pair of `bodystream samples`."""
    folder = tmp_path_factory.mktemp("samples") / "samples"
    write_samples(folder, select_device("cpu"), sizes=SampleSizes(frames=2, seconds=1.0))
    return folder / "pair"


@pytest.fixture
def take(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "take"))


def the_only(folder):
    (path,) = folder.iterdir()
    return path


def check_crop(sample):
    """Flow, scene flow and depth of the crop agree with each other and with the camera, and the target drawn back by
    the flow is the source."""
    c = sample.intrinsics
    height, width = sample.mask.shape
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    known = np.isfinite(sample.scene_flow_m).all(axis=2) & np.isfinite(sample.flow_px).all(axis=2)
    known &= sample.mask & (sample.source_depth_m > 0)
    assert known.sum() > 500
    points = np.stack([(u - c.cx) / c.fx, (v - c.cy) / c.fy, np.ones_like(u, float)], -1)
    moved = points * sample.source_depth_m[..., None] + sample.scene_flow_m
    ends = moved[..., :2] / moved[..., 2:] * (c.fx, c.fy) + (c.cx, c.cy)
    off = np.linalg.norm(ends - np.stack([u, v], -1) - sample.flow_px, axis=2)[known]
    sure = cv2.erode((sample.visible & known).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    at = (np.stack([u, v], -1) + sample.flow_px).astype(np.float32)
    back = cv2.remap(sample.target_rgb, at[..., 0], at[..., 1], cv2.INTER_LINEAR).astype(float)
    warped = np.abs(back - sample.source_rgb)[sure].mean()
    unmoved = np.abs(sample.target_rgb.astype(float) - sample.source_rgb)[sure].mean()
    return np.median(off), warped, unmoved


def test_crops_of_a_generated_take_are_true(take):
    pairs = open_pairs(f"deepdeform:{take}", SIZE, count=1)
    assert len(pairs) == 1
    for seed in range(4):
        sample = pairs.sample(0, seeded(seed))
        off, warped, unmoved = check_crop(sample)
        assert off < 0.5 and warped < 0.6 * unmoved
    assert sample.mask.mean() > 0.05
    seen = sample.visible & sample.mask
    assert 0.5 < seen.sum() / sample.mask.sum() <= 1.0


def test_crops_are_drawn_from_the_generator(take):
    pairs = DeepDeformPairs(take, SIZE)
    one, same, other = (pairs.sample(0, seeded(s)) for s in (1, 1, 2))
    assert one.intrinsics == same.intrinsics != other.intrinsics
    assert np.array_equal(one.source_rgb, same.source_rgb)


def test_a_data_set_with_labels(written, tmp_path):
    labels = []
    for name in ("seq001", "seq002"):
        shutil.copytree(written, tmp_path / "train" / name)
        labels.append({"seq_id": name, "object_id": "body", "source_id": "000075", "target_id": "000090"})
    (tmp_path / "train_dense.json").write_text(json.dumps(labels))
    pairs = open_pairs(f"deepdeform:{tmp_path}", SIZE, count=1, split="train")
    assert len(pairs) == 2
    assert pairs.sample(1, seeded()).size == SIZE
    with pytest.raises(InputError, match="val_dense.json"):
        open_pairs(f"deepdeform:{tmp_path}", SIZE, count=1, split="val")
    with pytest.raises(IndexError):
        pairs.sample(2, seeded())


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def other_size(path):
    path.write_bytes(struct.pack("<III", 8, 4, 2) + bytes(4 * 8 * 4 * 2))


def all_nan(path):
    content = path.read_bytes()
    path.write_bytes(content[:12] + np.full((len(content) - 12) // 4, np.nan, "<f4").tobytes())


@pytest.mark.parametrize(
    ("folder", "damage", "message"),
    [
        ("optical_flow", cut, "truncated"),
        ("scene_flow", cut, "truncated"),
        ("optical_flow", other_size, "is 8x4, but"),
        ("optical_flow", all_nan, "no pixel whose flow is known"),
        ("optical_flow", Path.unlink, "has no optical_flow"),
        ("scene_flow", Path.unlink, "has no optical_flow"),
    ],
)
def test_damaged_flow_is_refused(take, folder, damage, message):
    damage(the_only(take / folder))
    with pytest.raises(InputError, match=message):
        DeepDeformPairs(take, SIZE).sample(0, seeded())


def test_absent_images_are_refused(take):
    sorted((take / "color").iterdir())[0].unlink()
    with pytest.raises(InputError, match="take"):
        DeepDeformPairs(take, SIZE).sample(0, seeded())


def test_an_empty_mask_is_refused(take):
    for path in (take / "mask").iterdir():
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.zeros_like(image))
    with pytest.raises(InputError, match="mask"):
        DeepDeformPairs(take, SIZE).sample(0, seeded())


def test_data_that_is_not_there_or_unknown(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        open_pairs(f"deepdeform:{tmp_path / 'absent'}", SIZE, count=1)
    for spec in ("deepdeform", "deepdeform:", "synthetic:1", "sintel:x"):
        with pytest.raises(ConfigurationError, match="synthetic or deepdeform:PATH"):
            open_pairs(spec, SIZE, count=1)
    with pytest.raises(ConfigurationError, match="no splits"):
        open_pairs("synthetic", SIZE, count=1, split="train")
    with pytest.raises(ConfigurationError, match="recorded"):
        open_pairs(f"deepdeform:{tmp_path}", SIZE, count=1, motions="bvh:x")


def test_a_recorded_pair_of_the_public_data_set(shared_data):
    sample = DeepDeformPairs(shared_data / "depth" / "deepdeform_seq258", (192, 256)).sample(0, seeded())
    off, warped, unmoved = check_crop(sample)
    assert off < 1.5 and warped < 0.7 * unmoved
