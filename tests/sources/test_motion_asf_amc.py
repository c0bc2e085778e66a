"""ASF/AMC: against the same motion written as BVH, CMU's own files, and every kind of damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.sources.motion.asf_amc import parse_amc, parse_asf, read_asf_amc
from bodystream.sources.motion.bvh import read_bvh
from bodystream.sources.motion.rig import rig_kinematics

ASF = """# made for tests
:version 1.10
:name SMALL
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name lfemur
    direction 0.6 -0.8 0
    length 7.5
    axis 10 20 30 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
    id 2
    name ltibia
    direction 0 -1 0
    length 7
    axis 0 0 20 XYZ
    dof rx
    limits (-10.0 170.0)
  end
:hierarchy
  begin
    root lfemur
    lfemur ltibia
  end
"""
AMC = """#!OML:ASF small.asf
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 10 20 30
lfemur 5 6 7
ltibia 40
2
root 4 5 6 0 0 0
lfemur 0 0 0
ltibia 0
"""


def test_kinematics_by_the_formats_definition() -> None:
    motion = parse_amc(AMC, parse_asf(ASF, "small.asf"), "small.amc")
    assert motion.joints == ("Hips", "LeftUpLeg", "LeftLeg")
    assert motion.metres_per_unit == pytest.approx(0.0254 / 0.45)
    assert motion.rate_hz is None

    # The order of channels is applied from the first on, in fixed axes: lower case is scipy's extrinsic order.
    root = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
    axes = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
    femur = root * axes * Rotation.from_euler("xyz", [5, 6, 7], degrees=True) * axes.inv()
    shin_axes = Rotation.from_euler("z", 20, degrees=True)
    shin = femur * shin_axes * Rotation.from_euler("x", 40, degrees=True) * shin_axes.inv()
    knee = np.array([1.0, 2.0, 3.0]) + femur.apply([0.6 * 7.5, -0.8 * 7.5, 0.0])
    positions, frames = rig_kinematics(motion)
    np.testing.assert_allclose(positions[2][0], knee, atol=1e-12)
    np.testing.assert_allclose(frames[2][0], shin.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(positions[2][1], [4 + 4.5, 5 - 6, 6], atol=1e-12)
    np.testing.assert_allclose(motion.end_sites[2], [0, -7, 0])


@pytest.mark.parametrize("take", ["02_01", "02_03"])
def test_cmus_files_agree_with_their_conversion(shared_data: Path, take: str) -> None:
    folder = shared_data / "mocap" / "cmu"
    amc = read_asf_amc(folder / "asf_amc" / f"{take}.amc")
    bvh = read_bvh(folder / "bvh" / f"{take}.bvh").motion()
    assert len(amc) == len(bvh)
    ours, theirs = rig_kinematics(amc)[0], rig_kinematics(bvh)[0]
    for joint, name in enumerate(bvh.joints):
        np.testing.assert_allclose(ours[amc.joints.index(name)], theirs[joint], atol=2e-4, err_msg=name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (":bonedata", ":other", "needs the sections :bonedata and :hierarchy"),
        (":hierarchy", ":other", "needs the sections :bonedata and :hierarchy"),
        ("direction 0 -1 0", "", "line 33: a bone has no direction"),
        ("direction 0 -1 0", "direction 0 -1", "needs three numbers of a direction"),
        ("axis 0 0 20 XYZ", "axis 0 0 20 XYW", "axis order 'xyw' is unknown"),
        ("axis 0 0 20 XYZ", "axis 0 0 20", "three numbers and an order"),
        ("length 7\n", "length nan\n", "length 'nan' is not a usable number"),
        ("dof rx\n", "dof rq\n", "channel 'rq' is unknown"),
        ("name ltibia", "name lfemur", "'lfemur' is defined twice"),
        ("lfemur ltibia\n", "lfemur tail\n", "names 'tail', which is no bone"),
        ("lfemur ltibia\n", "ltibia lfemur\n", "children before it has a parent"),
        ("lfemur ltibia\n", "lfemur ltibia ltibia\n", "'ltibia' has two parents"),
    ],
)
def test_a_damaged_skeleton_is_named(old: str, new: str, message: str) -> None:
    assert old in ASF
    with pytest.raises(InputError, match=message) as caught:
        parse_asf(ASF.replace(old, new), "small.asf")
    assert str(caught.value).startswith("small.asf")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ltibia 40", "ltibia", r"line 7 \(frame 1\): ltibia has 0 numbers, its dof in small.asf are 1"),
        ("ltibia 40", "rtibia 40", "line 7: 'rtibia' is no bone of its skeleton"),
        ("ltibia 40", "ltibia x", "ltibia has a value that is not a number"),
        ("ltibia 40", "ltibia nan", "ltibia has an unusable number in frame 1"),
        ("ltibia 40", "ltibia 40\nltibia 41", "ltibia occurs twice in frame 1"),
        ("lfemur 0 0 0\n", "", "lfemur is in 1 of 2 frames"),
        ("2\nroot 4 5 6 0 0 0", "2", "root is in 1 of 2 frames"),
        ("1\nroot", "root", "line 4: 'root' stands before frame 1"),
    ],
)
def test_a_damaged_motion_is_named(old: str, new: str, message: str) -> None:
    assert old in AMC
    with pytest.raises(InputError, match=message) as caught:
        parse_amc(AMC.replace(old, new), parse_asf(ASF, "small.asf"), "small.amc")
    assert str(caught.value).startswith("small.amc")


@pytest.mark.parametrize(("skeleton", "motion"), [("rad", ":DEGREES"), ("deg", ":DEGREES"), ("deg", "")])
def test_degrees_by_the_motions_own_word(skeleton: str, motion: str) -> None:
    usual = parse_amc(AMC, parse_asf(ASF, "a"), "b").rotations[:, 0]
    asf = parse_asf(ASF.replace("angle deg", f"angle {skeleton}"), "a")
    np.testing.assert_allclose(parse_amc(AMC.replace(":DEGREES", motion), asf, "b").rotations[:, 0], usual)


@pytest.mark.parametrize(("skeleton", "motion"), [("rad", ""), ("rad", ":RADIANS"), ("deg", ":RADIANS")])
def test_radians(skeleton: str, motion: str) -> None:
    asf = parse_asf(ASF.replace("angle deg", f"angle {skeleton}"), "a")
    root = parse_amc(AMC.replace(":DEGREES", motion), asf, "b").rotations[0, 0]
    np.testing.assert_allclose(root, Rotation.from_euler("xyz", [10, 20, 30]).as_matrix(), atol=1e-12)


def test_a_bone_that_stretches_keeps_its_length_at_rest() -> None:
    asf = parse_asf(ASF.replace("dof rx\n", "dof rx l\n"), "a")
    text = AMC.replace("ltibia 40", "ltibia 40 0.5").replace("ltibia 0", "ltibia 0 0.1")
    stretched, usual = parse_amc(text, asf, "b"), parse_amc(AMC, parse_asf(ASF, "a"), "b")
    np.testing.assert_array_equal(stretched.rotations, usual.rotations)
    np.testing.assert_array_equal(stretched.end_sites[2], usual.end_sites[2])


def test_no_frames() -> None:
    with pytest.raises(InputError, match="holds no frames"):
        parse_amc(":DEGREES\n", parse_asf(ASF, "a"), "b")


def test_the_skeleton_of_the_subject_is_found(tmp_path: Path) -> None:
    (tmp_path / "07_01.amc").write_text(AMC)
    with pytest.raises(InputError, match=r"needs the skeleton of its subject beside it, 07.asf; .*no .asf file"):
        read_asf_amc(tmp_path / "07_01.amc")
    (tmp_path / "09.asf").write_text(ASF.replace("7.5", "1.5"))
    assert read_asf_amc(tmp_path / "07_01.amc").end_sites  # the only one there
    (tmp_path / "07.asf").write_text(ASF)
    motion = read_asf_amc(tmp_path / "07_01.amc")
    np.testing.assert_allclose(motion.offsets[2], [4.5, -6.0, 0.0])
    (tmp_path / "07.asf").rename(tmp_path / "08.asf")
    with pytest.raises(InputError, match="the folder has 08.asf, 09.asf"):
        read_asf_amc(tmp_path / "07_01.amc")


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_damaged_bytes_raise_input_errors_only(data: st.DataObject) -> None:
    texts = []
    for whole in (ASF, AMC):
        content = bytearray(whole.encode())
        for _ in range(data.draw(st.integers(0, 4))):
            at = data.draw(st.integers(0, len(content)))
            stop = data.draw(st.integers(at, min(at + 12, len(content))))
            content[at:stop] = data.draw(st.binary(max_size=12))
        texts.append(content.decode("latin-1"))
    try:
        motion = parse_amc(texts[1], parse_asf(texts[0], "fuzzed.asf"), "fuzzed.amc")
    except InputError as error:
        assert str(error).startswith("fuzzed")
    else:
        assert np.isfinite(motion.rotations).all()
