"""`bodystream-train flow-samples`: sheets of pairs, and what it refuses."""

import cv2
import numpy as np
import pytest
import torch

from bodystream.errors import ConfigurationError
from bodystream_training import cli
from bodystream_training.flow.batches import collate
from bodystream_training.flow.data import SyntheticPairs
from bodystream_training.flow.samples import crop_size, flow_colours, pictures_of


def test_a_sheet_has_a_row_for_each_pair(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    words = ["flow-samples", "--count", "3", "--first", "4", "--size", "64x96", "--out", str(out), "--augmented"]
    assert cli.main(words) == 0
    sheet = cv2.imread(str(out))
    assert sheet.shape == (3 * 96, 8 * 64, 3)
    assert "pairs 4 to 6 of synthetic" in capsys.readouterr().out
    again = tmp_path / "again.png"
    assert cli.main([*words[:-3], "--out", str(again), "--augmented"]) == 0
    assert out.read_bytes() == again.read_bytes()


def test_pictures_show_what_they_say():
    generator = torch.Generator().manual_seed(0)
    pairs = SyntheticPairs((64, 96), 8, 0)
    drawn_back = unmoved = 0.0
    for number in range(len(pairs)):
        sample = pairs.sample(number, generator)
        source, target, back, flow, guess, depth, _, seen = pictures_of(collate([sample], generator), 0)
        assert np.array_equal(source, sample.source_rgb) and np.array_equal(target, sample.target_rgb)
        assert (depth[sample.source_depth_m == 0] == 0).all() and depth[sample.source_depth_m > 0].any()
        assert (guess == 255).all()  # no guess is no flow, which is white
        assert not flow[~np.isfinite(sample.flow_px).all(axis=2)].any()
        inside = sample.mask & sample.visible
        assert (seen[inside] == 255).all()
        drawn_back += np.abs(back.astype(float) - source)[inside].sum()
        unmoved += np.abs(target.astype(float) - source)[inside].sum()
    assert drawn_back < 0.7 * unmoved


def test_flow_colours_tell_direction_and_length():
    flow = np.array([[[10, 0], [-10, 0], [0, 0], [np.nan, 0], [5, 0], [20, 0]]], np.float32)
    right, left, still, unknown, half, far = flow_colours(flow, 10.0)[0].astype(int)
    assert right.tolist() == [255, 0, 0] and left.tolist() == [0, 255, 255]
    assert still.tolist() == [255, 255, 255] and unknown.tolist() == [0, 0, 0]
    assert half.tolist() == [255, 128, 128] and far.tolist() == right.tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "0"], "--count must be 1 to 500"),
        (["--size", "64"], "--size must be WIDTHxHEIGHT"),
        (["--size", "16x16"], "32 to 4096"),
        (["--data", "sintel:x"], "synthetic or deepdeform:PATH"),
        (["--data", "deepdeform:absent"], "is not a folder"),
        (["--motions", "bvh:absent"], "absent"),
        (["--out", "."], "--out"),
    ],
)
def test_what_cannot_be_is_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["flow-samples", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.png"))


def test_sizes():
    assert crop_size("192x256") == (192, 256)
    with pytest.raises(ConfigurationError):
        crop_size("192x256x3")
