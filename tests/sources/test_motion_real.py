"""Recordings of four conversions: people who stand upright, look ahead, and bend their knees backwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_motion_upright import crumpled

from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.sources.motion import HingedTakes, Take, canonical_clip, find_takes, read_asf_amc, read_bvh
from bodystream.sources.motion.canonical import TakeFacts
from bodystream.sources.motion.rolls import find_rolls, roll_evidence, rolled

LEFT_HIP, RIGHT_HIP = JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]
KNEES = [JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]]
FEET = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]
# One take of each rig: CMU's, the other conversions of it, Daz's, and three people of ACCAD, of whom two have bones'
# axes of their own. Of each its archive, and whether the person walks ahead in it.
TAKES = {
    "02_01": ("cmu/archives/02", True),
    "60_05": ("cmu/archives/60", False),
    "walking_train_03": ("cmu/archives/mixed_walking", True),
    "07_03": ("more/cmu_bvh/07", True),
    "09_01": ("more/cmu_asf_amc/09", True),
    "Female1_B03_Walk": ("more/accad/Female1", True),
    "Male1_B3_Walk": ("more/accad/Male1", True),
    "Male2_B3_Walk": ("more/accad/Male2", True),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def motion_data(shared_data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BODYSTREAM_CACHE", str(cache))
    return shared_data / "mocap"


@pytest.fixture
def take(request: pytest.FixtureRequest, motion_data: Path) -> Take:
    takes = {take.name: take for take in find_takes(str(motion_data / f"{TAKES[request.param][0]}.tar.xz"))}
    return takes[request.param]


@pytest.mark.parametrize("take", TAKES, indirect=True)
def test_a_person_stands_looks_ahead_and_bends_as_people_do(take: Take) -> None:
    warnings: list[str] = []
    clip = take.load(warnings)
    assert not warnings
    positions, world = clip.joints()
    assert np.isfinite(positions).all()
    head = positions[:, JOINT_INDEX["head"], 1]
    assert 1.2 < np.median(head) < 1.8
    lowest = positions[:, FEET, 1].min(axis=1)
    assert np.percentile(lowest, 5) == pytest.approx(0.02, abs=0.005)
    assert np.percentile(lowest, 95) < 0.2
    # The left hip is on the pelvis' left, which is -x of its frame.
    across = positions[:, LEFT_HIP] - positions[:, RIGHT_HIP]
    assert (np.einsum("ti,ti->t", across, world[:, 0, :, 0]) < 0).all()
    # Knees flex about -x: the foot goes backwards.
    turns = Rotation.from_matrix(clip.rotation_matrices()[:, KNEES].reshape(-1, 3, 3)).as_rotvec()
    angles = np.linalg.norm(turns, axis=1)
    bent = angles > 0.5
    assert bent.any()
    assert np.median(-turns[bent, 0] / angles[bent]) > 0.9
    if TAKES[take.name][1]:
        velocity = np.gradient(positions[:, 0], axis=0)[:, [0, 2]] * clip.rate_hz
        ahead = -world[:, 0, :, 2][:, [0, 2]]
        speed = np.linalg.norm(velocity, axis=1)
        moving = speed > 0.5
        assert moving.sum() > 20
        cosine = (velocity * ahead).sum(axis=1)[moving] / speed[moving]
        assert np.median(cosine) > 0.95


def test_two_conversions_of_a_take_agree_but_for_their_scale(motion_data: Path) -> None:
    folder = motion_data / "cmu" / "bvh"
    facts = TakeFacts("02_01", metres_per_unit=0.0254 / 0.45)
    one, other = (
        canonical_clip(read_bvh(folder / f"02_01{name}.bvh").motion(), facts) for name in ("", "_other_conversion")
    )
    assert len(one) == len(other)
    degrees = median_apart_deg(one, other)
    for name in ("left_knee", "right_knee", "left_elbow", "right_elbow"):
        assert degrees[JOINT_INDEX[name]] < 8.0, name
    assert np.median(degrees) < 12.0
    path = [np.linalg.norm(np.diff(clip.root_positions_m[:, [0, 2]], axis=0), axis=1).sum() for clip in (one, other)]
    assert path[1] / path[0] == pytest.approx(1.0631, abs=0.01)


def test_two_conversions_of_a_take_agree_in_how_limbs_are_turned_about_themselves(motion_data: Path) -> None:
    folder = motion_data / "cmu" / "bvh"
    facts = TakeFacts("02_01", metres_per_unit=0.0254 / 0.45)
    read = [canonical_clip(read_bvh(folder / f"02_01{n}.bvh").motion(), facts) for n in ("", "_other_conversion")]
    rolls = [find_rolls(roll_evidence(clip), clip.skeleton) for clip in read]
    assert [found.notes for found in rolls] == [(), ()]
    hinged = [rolled(clip, found) for clip, found in zip(read, rolls, strict=True)]
    before, after = (median_apart_deg(*clips) for clips in (read, hinged))
    for name in ("left_ankle", "right_ankle", "left_collar", "right_collar", "left_shoulder", "right_shoulder"):
        assert after[JOINT_INDEX[name]] < 0.7 * before[JOINT_INDEX[name]], name
    assert after.mean() < 0.7 * before.mean()
    assert after.max() < 9.0  # what is left is how the two place the joints


@pytest.mark.parametrize(("folder", "kind"), [("more/accad/Male1", "ACCAD"), ("cmu/archives/02", "CMU")])
def test_elbows_knees_and_soles_are_alike_on_rigs_of_two_laboratories(
    motion_data: Path, folder: str, kind: str
) -> None:
    takes = find_takes(str(motion_data / f"{folder}.tar.xz"))[:12]
    hinged = HingedTakes(takes)
    warnings: list[str] = []
    clips = [hinged.load(take, warnings) for take in takes]
    assert not any("bend" in warning or "stand" in warning or "hang" in warning for warning in warnings)
    bends, ups = [], []
    for clip in clips:
        turns = clip.rotation_matrices()
        positions, world = clip.joints()
        for side, out in (("left", -1.0), ("right", 1.0)):
            forearm = turns[:, JOINT_INDEX[f"{side}_elbow"]] @ [out, 0.0, 0.0]
            bends.append(forearm[forearm[:, 0] * out < 0.8])
            foot = JOINT_INDEX[f"{side}_foot"]
            low = positions[:, foot, 1] < np.percentile(positions[:, foot, 1], 50)
            ups.append(world[low, JOINT_INDEX[f"{side}_ankle"], 1, 1])
    bent = np.concatenate(bends)
    # An elbow bends ahead: as read, it is ahead and up or down by 30 to 40 degrees, as the rig has it.
    assert np.median(np.degrees(np.abs(np.arctan2(bent[:, 1], -bent[:, 2])))) < 2.0, kind
    # Half of the time that a foot is low, its sole is level.
    assert np.degrees(np.arccos(np.median(np.concatenate(ups)))) < 12.0, kind


def median_apart_deg(one: MotionClip, other: MotionClip) -> np.ndarray:
    turn = Rotation.from_quat(one.rotations_xyzw.reshape(-1, 4)).inv() * Rotation.from_quat(
        other.rotations_xyzw.reshape(-1, 4)
    )
    return np.median(np.degrees(turn.magnitude()).reshape(len(one), 22), axis=0)


@pytest.mark.parametrize("name", ["02_01", "02_03"])
def test_the_original_and_its_conversion_give_one_motion(motion_data: Path, name: str) -> None:
    amc = canonical_clip(read_asf_amc(motion_data / "cmu" / "asf_amc" / f"{name}.amc"), TakeFacts(name, rate_hz=120.0))
    bvh = canonical_clip(read_bvh(motion_data / "cmu" / "bvh" / f"{name}.bvh").motion(), TakeFacts(name))
    assert bvh.rate_hz == pytest.approx(120.0, rel=1e-3)
    assert joints_apart(amc, bvh) < 1e-4


def joints_apart(one: MotionClip, other: MotionClip) -> float:
    return float(np.linalg.norm(one.joints()[0] - other.joints()[0], axis=-1).max())


def test_samples_are_not_counted_twice(motion_data: Path) -> None:
    folder = motion_data / "cmu"
    spec = f"{folder / 'bvh'},{folder / 'asf_amc'},{folder / 'archives' / '02.tar.xz'}"
    takes = find_takes(spec)
    found = [take.name for take in takes]
    assert len(found) == len(set(found))
    assert "02_01" in found
    assert "02_01_other_conversion" not in found
    assert all(take.path.is_relative_to(folder) == (take.subject != "cmu_02") for take in takes)
    subjects = {take.name: take.subject for take in takes}
    assert subjects["basketball_train_01"] == "cmu_06"
    assert subjects["running_train_02"] == "cmu_16"
    assert subjects["soccer_train_01"] == "unknown_soccer"


def test_the_index_knows_the_true_rate(motion_data: Path) -> None:
    (take,) = (t for t in find_takes(str(motion_data / "cmu" / "archives" / "60.tar.xz")) if t.name == "60_05")
    assert take.rate_hz == 60.0
    clip = take.load()
    assert clip.rate_hz == 60.0
    assert read_bvh(take.path).motion().rate_hz == pytest.approx(120.0, rel=1e-3)
    assert len(clip) == len(read_bvh(take.path).frames) - 1  # its first frame is a T-pose


TURNS = {"z": ("x", 90.0), "-y": ("x", 180.0), "x": ("z", -90.0)}


@pytest.mark.parametrize("take", ["02_01", "07_03", "09_01", "Male1_B3_Walk"], indirect=True)
@pytest.mark.parametrize("axis", TURNS)
def test_a_motion_that_was_turned_against_its_skeleton_is_turned_back(take: Take, axis: str) -> None:
    motion = read_bvh(take.path).motion() if take.kind == "bvh" else read_asf_amc(take.path)
    turn = Rotation.from_euler(*TURNS[axis], degrees=True).as_matrix()
    rotations = motion.rotations.copy()
    rotations[:, 0] = turn @ rotations[:, 0]
    warnings: list[str] = []
    other = replace(motion, rotations=rotations, root_positions=motion.root_positions @ turn.T)
    found, wanted = canonical_clip(other, take.facts, warnings), canonical_clip(motion, take.facts)
    np.testing.assert_allclose(found.joints()[0][..., 1], wanted.joints()[0][..., 1], atol=1e-3)
    assert any(f"upright along the file's {axis} axis" in note for note in warnings)


@pytest.mark.parametrize("name", ["Male1_A9_LieDown", "Male1_A8_CrouchToLie", "Male1_A11_CrawlForward"])
def test_people_who_lie_and_crawl_stay_where_they_are(motion_data: Path, name: str) -> None:
    (take,) = (t for t in find_takes(str(motion_data / "more" / "accad" / "Male1.tar.xz")) if t.name == name)
    warnings: list[str] = []
    positions, _ = take.load(warnings).joints()
    assert not any("which was taken for up" in note for note in warnings)
    assert any("up=z" in note for note in warnings)
    assert np.percentile(positions[..., 1].max(axis=1), 5) < 0.9  # of the highest joint, at some time
    assert positions[..., 1].min() > -0.1


@pytest.mark.parametrize(("unit", "metres"), [("centimetres", 0.01), ("metres", 1.0), ("millimetres", 1e-3)])
def test_an_asf_whose_unit_is_written_as_one(motion_data: Path, tmp_path: Path, unit: str, metres: float) -> None:
    folder = motion_data / "cmu" / "asf_amc"
    factor = 0.0254 / 0.45 / metres
    lines = (folder / "02.asf").read_text().splitlines()
    for number, line in enumerate(lines):
        words = line.split()
        if words[:1] == ["length"]:
            is_unit = words[1] == "0.45"
            lines[number] = "length 1.0" if is_unit else f"length {float(words[1]) * factor!r}"
    (tmp_path / "02.asf").write_text("\n".join(lines))
    rows = (folder / "02_01.amc").read_text().splitlines()
    for number, line in enumerate(rows):
        words = line.split()
        if words[0] == "root":
            rows[number] = " ".join(["root", *(repr(float(w) * factor) for w in words[1:4]), *words[4:]])
    (tmp_path / "02_01.amc").write_text("\n".join(rows))
    warnings: list[str] = []
    found = canonical_clip(read_asf_amc(tmp_path / "02_01.amc"), TakeFacts("02_01"), warnings)
    wanted = canonical_clip(read_asf_amc(folder / "02_01.amc"), TakeFacts("02_01"))
    assert joints_apart(found, wanted) < 1e-4
    assert any(f"{unit} were taken" in note for note in warnings)


@pytest.mark.parametrize("take", ["02_01", "walking_train_03"], indirect=True)
def test_heads_of_real_people_on_bones_with_axes_of_their_own(take: Take) -> None:
    motion = read_bvh(take.path).motion()
    warnings: list[str] = []
    found, wanted = (canonical_clip(m, take.facts, w) for m, w in ((crumpled(motion), warnings), (motion, [])))
    pitch = [np.rad2deg(np.arcsin(-clip.joints()[1][:, JOINT_INDEX["head"], 1, 2])) for clip in (found, wanted)]
    assert np.median(np.abs(pitch[0] - pitch[1])) < 15.0
    assert any("the direction in which the head looks was worked out" in note for note in warnings)
