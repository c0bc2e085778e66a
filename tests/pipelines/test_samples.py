"""The sample data: true to its scene, readable by the project's own readers, the same every time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import warp as wp

from bodystream.avatar import VrmModel
from bodystream.avatar.rig import load_rig
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX, align_rest
from bodystream.pipelines.samples import SampleSizes, sample_clip, scene_motion, write_samples
from bodystream.sources.folder import FolderSource
from bodystream.sources.headset.trace import read_trace
from bodystream.sources.layouts.pair import load_pair
from bodystream.sources.motion import find_takes
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.sources.synthetic.motion import Motion
from helpers.needs import khronos_issues

SMALL = SampleSizes(frames=3, seconds=2.0, pair=(30, 45))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    written = write_samples(folder, wp.get_device("cpu"), sizes=SMALL)
    assert all(path.exists() for path in written)
    return folder


def test_depth_recording_holds_what_the_camera_measured(samples: Path) -> None:
    source = FolderSource.open(samples / "depth")
    frames = list(source)
    source.close()
    camera = SyntheticSource(SyntheticConfig(seed=0), "cpu")
    assert len(frames) == 3
    for index, frame in enumerate(frames):
        measured = camera.render(index, 0)
        np.testing.assert_allclose(frame.depth_m, measured.depth_m, atol=0.5e-3 + 1e-6)
        assert frame.intrinsics.fx == pytest.approx(measured.intrinsics.fx, abs=1e-3)
        assert np.abs(frame.colour.astype(int) - measured.colour.astype(int)).mean() < 3


def test_true_motion_leads_from_surface_to_surface(samples: Path) -> None:
    """A pixel's point plus its scene flow lies on the second frame's depth, and its flow is the projection of that."""
    pair = load_pair(samples / "pair")
    camera = pair.source.intrinsics
    assert pair.flow_px is not None and pair.scene_flow_m is not None
    known = np.isfinite(pair.scene_flow_m).all(axis=2)
    v, u = np.nonzero(known)
    assert len(v) > 10_000 and pair.source.mask[v, u].all()
    z = pair.source.depth_m[v, u]
    start = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], axis=1)
    end = start + pair.scene_flow_m[v, u]
    at = end[:, :2] / end[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    np.testing.assert_allclose(at - np.stack([u, v], axis=1), pair.flow_px[v, u], atol=0.35)  # depth is in millimetres
    column, row = np.round(at).astype(int).T
    off = np.abs(pair.target.depth_m[row, column] - end[:, 2])
    assert np.median(off) < 2e-3 and np.mean(off < 0.02) > 0.97
    assert np.linalg.norm(pair.scene_flow_m[v, u], axis=1).mean() > 0.01


def test_the_avatar_is_a_vrm_of_another_build(samples: Path) -> None:
    model = VrmModel(samples / "avatar.vrm")
    body = align_rest(load_rig().bind_positions_m)[0]
    assert model.humanoid.version == "1" and model.humanoid.faces_ahead and model.build.bones.has.all()
    assert model.build.skeleton.stature_m < 0.95 * body.stature_m
    legs = [s.pelvis_height_m / s.stature_m for s in (model.build.skeleton, body)]
    assert legs[0] > legs[1] + 0.02
    assert len(model.skin.mesh.vertices) == len(load_rig().mesh.vertices) and len(model.skin.parts) > 1
    assert model.skin.mesh.vertices[:, 1].min() == pytest.approx(0.0, abs=1e-3)
    issues = json.loads(khronos_issues(samples / "avatar.vrm"))
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"][:5]


def test_motion_is_that_of_the_drawn_body(samples: Path) -> None:
    """Joints of the file are those of the synthetic body, posed by its own bone transforms."""
    body = load_rig()
    (take,) = find_takes(f"bvh:{samples / 'walk.bvh'}")
    clip = take.load()
    positions, _ = clip.joints()
    frame = 60
    transforms = Motion(body, "walk", 0).transforms(np.array([frame / 60.0]))[0]
    rest = np.concatenate([body.bind_positions_m.astype(np.float64), np.ones((len(body.bind_positions_m), 1))], axis=1)
    expected = np.einsum("jab,jb->ja", transforms, rest)[:, :3]
    found = positions[round(frame * clip.rate_hz / 60.0)]
    for joint in ("left_wrist", "right_wrist", "left_ankle", "right_knee"):
        j, root = JOINT_INDEX[joint], JOINT_INDEX["pelvis"]
        np.testing.assert_allclose(found[j] - found[root], expected[j] - expected[root], atol=0.03)


def test_headset_is_a_session_of_a_person(samples: Path) -> None:
    trace = read_trace(samples / "headset.csv")
    heads = np.array([s.head.position_m for s in trace.samples if s.head is not None])
    assert 1.3 < np.median(heads[:, 1]) < 1.8
    assert len(trace.samples) > 0.9 * SMALL.seconds * SMALL.headset_hz
    assert not trace.warnings


def test_same_seed_same_files(samples: Path, tmp_path: Path) -> None:
    write_samples(tmp_path, wp.get_device("cpu"), sizes=SMALL)

    def digests(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    assert digests(tmp_path) == digests(samples)


def test_seeds_differ() -> None:
    body = load_rig()
    first, second = (sample_clip(body, "limbs", seed, 1.0, 30.0) for seed in (0, 1))
    assert not np.allclose(first.rotations_xyzw, second.rotations_xyzw)


def test_only_synthetic_frames_have_a_true_motion(samples: Path) -> None:
    pair = load_pair(samples / "pair")
    with pytest.raises(InputError, match="only synthetic frames"):
        scene_motion(pair.source, pair.target)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        write_samples(tmp_path / "file" / "samples", wp.get_device("cpu"), sizes=SMALL)
