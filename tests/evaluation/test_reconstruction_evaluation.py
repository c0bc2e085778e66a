"""`eval reconstruction` on a generated set in DeepDeform's layout whose truth is known, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.cli import main as cli
from bodystream.device import select_device
from bodystream.errors import InputError
from bodystream.evaluation.flow import live_estimators
from bodystream.evaluation.reconstruction.annotations import find_sequences
from bodystream.evaluation.reconstruction.runner import run_sequence, score_segment
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.types import Array, RgbdFrame
from helpers.annotated_sequence import AnnotatedSet, write_annotated_set


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    return write_annotated_set(tmp_path_factory.mktemp("set"))


@pytest.fixture
def spoilt(written: AnnotatedSet, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(written.root, tmp_path / "set"))


def observed(written: AnnotatedSet) -> dict[str, tuple[Array, Array]]:
    return {f"{n:06d}": (written.frames[n].depth_m, written.truth(n).mask) for n in written.annotated}


def test_the_truth_itself_is_right_to_a_few_millimetres(written: AnnotatedSet) -> None:
    (sequence,) = find_sequences(written.root)
    camera = written.frames[0].intrinsics

    def true_vertices(name: str) -> Array:
        return written.truth(int(name)).mesh.vertices

    score = score_segment(sequence, 23, observed(written), true_vertices, camera)
    # A pixel is 8 mm at this distance and size, and the body's vertices are 2 cm apart.
    assert score.deformation_m < 0.004 and score.geometry_m < 0.010 and score.missing == 0
    assert 100 < score.matches <= 300 and score.points > 2000
    # It stays where it was: the error is that of no motion.
    still = score_segment(sequence, 23, observed(written), lambda _: true_vertices("000000"), camera)
    assert still.deformation_m == pytest.approx(still.no_motion_m, abs=0.003) and still.no_motion_m > 0.009
    # It moves along with its points but too far: by as much the deformation is off.
    shift = np.array([0.0, 0.05, 0.0], np.float32)
    later = score_segment(
        sequence, 23, observed(written), lambda n: true_vertices(n) + (shift if n != "000000" else 0), camera
    )
    assert later.deformation_m == pytest.approx(0.05, abs=0.006)
    # Beyond 0.3 m it does not matter how far.
    lost = score_segment(sequence, 23, observed(written), lambda n: true_vertices(n) + 9.0 * (n != "000000"), camera)
    assert lost.deformation_m == 0.3 and lost.geometry_m == 0.3


def test_a_frame_without_a_surface_counts_as_one_that_is_far_off(written: AnnotatedSet) -> None:
    (sequence,) = find_sequences(written.root)
    camera = written.frames[0].intrinsics

    def vertices(name: str) -> Array | None:
        return None if name == "000023" else written.truth(int(name)).mesh.vertices

    score = score_segment(sequence, 23, observed(written), vertices, camera)
    early = score_segment(sequence, 22, observed(written), vertices, camera)
    assert (score.missing, early.missing) == (2, 0)
    assert (score.matches, score.points) == (early.matches, early.points)
    n = early.matches
    assert score.deformation_m == pytest.approx((n * early.deformation_m + 0.3) / (n + 1), rel=1e-6)


def test_the_command_measures_a_capture(written: AnnotatedSet, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "reconstruction", str(written.root), "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    sequence = told["sequences"]["seq001"]
    assert told["frames"] == sequence["frames"] == 24 and told["missing"] == 0 and told["flow"] == "dis"
    for values in (told, sequence, *sequence["segments"]):
        assert values["deformation_error_mm"] < 0.75 * values["no_motion_mm"]
        assert 0 < values["geometry_error_mm"] < 8.0
    assert [segment["end"] for segment in sequence["segments"]] == [23]


def test_the_table_names_each_sequence_and_the_mean(written: AnnotatedSet, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "reconstruction", str(written.sequence), "--device", "cpu"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0][0] == "sequence" and rows[1][0] == "seq001" and len(rows) == 2
    assert float(rows[1][1]) < float(rows[1][3])


class Watched(Capture):
    """A capture that remembers which masks it was shown, and forgets its model where it is told to."""

    masks: list[bool]
    forget_at: int | None = None

    def step(self, frame: RgbdFrame):
        self.masks.append(frame.mask is not None)
        if frame.name and frame.index == self.forget_at:
            self.reset()
        return super().step(frame)


def watched(forget_at: int | None = None) -> tuple[list[bool], object]:
    masks: list[bool] = []

    def make(intrinsics, device) -> Capture:
        capture = Watched(intrinsics, device, estimator=live_estimators("dis")())
        capture.masks = masks
        capture.warm_up()
        masks.clear()
        capture.warm_up = lambda frames=4: None
        capture.forget_at = forget_at
        return capture

    return masks, make


def test_only_the_first_mask_is_shown_and_segments_add_up(written: AnnotatedSet) -> None:
    (sequence,) = find_sequences(written.root)
    masks, make = watched()
    seen: list[int] = []
    score = run_sequence(
        sequence, make, select_device("cpu"), segment_frames=10, on_frame=lambda f: seen.append(f.index)
    )
    assert masks == [True] + [False] * 23 and seen == list(range(24))
    assert [segment.end for segment in score.segments] == [10, 20, 23]
    first, second, last = score.segments
    assert np.isnan(first.deformation_m) and first.points > 0
    assert 0 < second.matches < last.matches and first.points < second.points < last.points
    assert score.mean_mm("deformation_m") == pytest.approx(500 * (second.deformation_m + last.deformation_m))


def test_a_model_that_was_started_anew_has_no_surface_before(written: AnnotatedSet) -> None:
    (sequence,) = find_sequences(written.root)
    _, make = watched(forget_at=15)
    score = run_sequence(sequence, make, select_device("cpu"))
    # The masks of frames 0 and 12, and both pairs, which begin in frame 0.
    assert score.restarts == 1 and score.segments[-1].missing == 4
    assert score.segments[-1].deformation_m == 0.3


def test_it_ends_early_with_the_segments_there_are(written: AnnotatedSet) -> None:
    (sequence,) = find_sequences(written.root)
    count = iter(range(100))
    score = run_sequence(
        sequence, watched()[1], select_device("cpu"), segment_frames=10, stopped=lambda: next(count) >= 12
    )
    assert [segment.end for segment in score.segments] == [10] and score.frames == 12


def sequence_of(root: Path):
    return run_sequence(find_sequences(root)[0], watched()[1], select_device("cpu"))


def rewritten(root: Path, name: str, change) -> None:
    file = root / name
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def test_what_is_not_there_is_said(spoilt: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        find_sequences(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no annotations: wanted val_matches.json"):
        find_sequences(tmp_path / "empty")
    with pytest.raises(InputError, match="has no train_matches.json; its splits are: val"):
        find_sequences(spoilt, "train")
    for split in ("train", "test"):
        shutil.copy(spoilt / "val_matches.json", spoilt / f"{split}_matches.json")
    assert find_sequences(spoilt)[0].folder == spoilt / "val" / "seq001"
    (spoilt / "val_matches.json").rename(tmp_path / "kept.json")
    with pytest.raises(InputError, match=r"several splits \(test, train\): choose one with --split"):
        find_sequences(spoilt)
    with pytest.raises(InputError, match="has no annotations: .*val_matches.json is needed"):
        find_sequences(spoilt / "val" / "seq001")
    with pytest.raises(InputError, match="annotates seq001, but there is no folder"):
        find_sequences(spoilt, "train")


def test_labels_that_cannot_be_read_are_refused(spoilt: Path) -> None:
    (spoilt / "val_matches.json").write_text("[{")
    with pytest.raises(InputError, match="val_matches.json: not as DeepDeform writes it"):
        find_sequences(spoilt)
    (spoilt / "val_matches.json").write_text("[]")
    with pytest.raises(InputError, match="has no matches"):
        find_sequences(spoilt)
    with pytest.raises(InputError, match="has no match of seq001; it has those of none"):
        find_sequences(spoilt / "val" / "seq001")
    match = {"source_x": 1, "source_y": 1, "target_x": 1, "target_y": 1}
    pair = {"seq_id": "seq001", "source_id": "0", "target_id": "../1", "matches": [match]}
    (spoilt / "val_matches.json").write_text(json.dumps([pair]))
    with pytest.raises(InputError, match="frames are named by their number"):
        find_sequences(spoilt)


def test_missing_and_damaged_frames_are_refused(spoilt: Path) -> None:
    depth = spoilt / "val" / "seq001" / "depth" / "000012.png"
    whole = depth.read_bytes()
    depth.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="frame 000012 is annotated and cannot be read"):
        sequence_of(spoilt)
    depth.unlink()
    with pytest.raises(InputError, match=r"1 annotated frames are missing, the first is 000012 \(.*000012.*\)"):
        sequence_of(spoilt)
    (spoilt / "val" / "seq001" / "color" / "000012.jpg").unlink()
    with pytest.raises(InputError, match=r"000012 \(neither color nor depth is there\); there are 23 frames"):
        sequence_of(spoilt)


def test_masks_that_are_missing_or_of_another_size_are_refused(spoilt: Path) -> None:
    mask = spoilt / "val" / "seq001" / "mask" / "000012.png"
    image = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(mask), image[:, :-8])
    with pytest.raises(InputError, match="the mask of frame 000012 is 312x240, but the depth is 320x240"):
        sequence_of(spoilt)
    mask.unlink()
    with pytest.raises(
        InputError, match=r"frame 000012 is annotated and has no mask, which is wanted as mask/000012.png"
    ):
        sequence_of(spoilt)
    # One file per object is as good, and their union counts.
    for name, part in (("body", image), ("hat", np.zeros_like(image))):
        cv2.imwrite(str(mask.with_name(f"000012_{name}.png")), part)
    assert len(find_sequences(spoilt)[0].mask_files("000012")) == 2


def test_pixels_outside_of_the_image_are_refused(spoilt: Path) -> None:
    rewritten(spoilt, "val_matches.json", lambda pairs: pairs[0]["matches"][3].update(target_x=320.0))
    with pytest.raises(
        InputError, match=r"pixel \(320, .*\) of frame 000012 is annotated \(pair body 000000 to 000012\)"
    ):
        sequence_of(spoilt)


def test_without_a_list_of_masks_all_that_are_there_count(spoilt: Path) -> None:
    (spoilt / "val_masks.json").unlink()
    assert find_sequences(spoilt)[0].masked == ("000000", "000012", "000023")


def test_names_lead_nowhere_else(spoilt: Path) -> None:
    rewritten(spoilt, "val_matches.json", lambda pairs: pairs[0].update(seq_id="../val/seq001"))
    with pytest.raises(InputError, match="sequences are named by their folder"):
        find_sequences(spoilt)


def test_depth_that_is_not_a_number_is_no_depth(spoilt: Path) -> None:
    """Depth in metres in place of images, with nan where nothing was measured."""
    sequence = spoilt / "val" / "seq001"
    for file in sorted((sequence / "depth").iterdir()):
        depth_m = cv2.imread(str(file), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1e3
        depth_m[depth_m == 0] = np.nan
        depth_m[100:104, 150:160] = np.nan
        np.save(file.with_suffix(".npy"), depth_m)
        file.unlink()
    score = sequence_of(spoilt)
    assert score.segments[-1].missing == 0 and score.segments[-1].deformation_m < 0.75 * score.segments[-1].no_motion_m
    assert np.isfinite(score.segments[-1].geometry_m)
