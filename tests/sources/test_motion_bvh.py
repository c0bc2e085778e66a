"""BVH files: against an independent reading, and every kind of damage."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.errors import InputError
from bodystream.sources.motion.bvh import BvhFile, BvhJoint, parse_bvh, read_bvh
from bodystream.sources.motion.rig import rig_kinematics
from helpers.motion_files import SMALL_BVH, reference_kinematics, rig_file, walking_file

TOLERANCE = 1e-9  # float64 throughout, a dozen products deep


@pytest.mark.parametrize("rig", ["cmu", "daz", "mixamo"])
@pytest.mark.parametrize("order", ["ZYX", "ZXY", "XYZ", "YXZ"])
def test_kinematics_agree_with_homogeneous_matrices(rig: str, order: str) -> None:
    file = rig_file(rig, order=order, bend_deg=150.0)
    motion = parse_bvh(file.text(), "written").motion()
    positions, _ = rig_kinematics(motion)
    for name, wanted in reference_kinematics(file).items():
        np.testing.assert_allclose(positions[motion.joints.index(name)], wanted, atol=TOLERANCE * 1e3)


def test_reads_hierarchy_channels_and_times() -> None:
    file = parse_bvh(SMALL_BVH, "small.bvh")
    assert [joint.name for joint in file.joints] == ["Hips", "Chest"]
    assert file.joints[0].channels[3:] == ("Zrotation", "Xrotation", "Yrotation")
    np.testing.assert_array_equal(file.joints[1].end_site, [0, 5, 0])
    np.testing.assert_array_equal(file.frames[0], [1, 2, 3, 10, 20, 30, 4, 5, 6])
    assert file.motion().rate_hz == pytest.approx(30.0, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("  ", "\t"),
        lambda text: "\xef\xbb\xbf" + text,
        lambda text: text.replace("Frames: 2", "Frames:\t2"),
        lambda text: text.replace("Hips\n{", "Hips {"),
        lambda text: text + "\n\n",
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("End Site", "End site"),
        lambda text: text.replace("End Site", "EndSite"),
        lambda text: text.replace("End Site", "End Site Chest_end"),
        str.lower,
        str.upper,
        lambda text: text.replace("20 30 4", "20 +30 4").replace("1 2 3", "+1+2 3"),
        lambda text: text.replace("10 20 30", "10,0 20,000 3,0e1").replace("OFFSET 0 10 0", "OFFSET 0,00 10,00 0"),
        lambda text: text.replace("10 20 30 4 5 6", "10, 20, 30, 4, 5, 6").replace("0 10 0", "0, 10, 0"),
        lambda text: text.replace("Frames: 2", "Frames 2").replace("Frame Time: ", "Frame Time "),
        lambda text: text.replace("Frame Time:", "FrameTime:"),
        lambda text: text.replace("0.0333333", "0,0333333"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("    OFFSET 0 10 0\n    CHANNELS", "    CHANNELS").replace(
            "Yrotation\n    End", "Yrotation\n    OFFSET 0 10 0\n    End"
        ),
    ],
)
def test_takes_the_spellings_of_exporters(change) -> None:
    np.testing.assert_array_equal(parse_bvh(change(SMALL_BVH), "x").frames, parse_bvh(SMALL_BVH, "x").frames)


SIGNED = SMALL_BVH.replace("1 2 3 10 20 30 4 5 6", "1.5 -2.25 -3e-05 -10.5 20.5 -30.5 -4.5 5.5 -6.5")


@pytest.mark.parametrize(
    "row",
    [
        "1.5-2.25-3e-05-10.5 20.5-30.5-4.5 5.5-6.5",  # fixed columns: no room for a space before a sign
        "1.5-2.25 -3E-05-10.5 +20.5-30.5 -4.5+5.5 -6.5",
        "1,5-2,25-3e-05-10,5 20,5 -30,5 -4,5 5,5-6,5",
        "1,5\t-2,25\t-0,00003\t-10,5\t20,5\t-30,5\t-4,5\t5,5\t-6,5",
        "1.5,-2.25,-0.00003,-10.5,20.5,-30.5,-4.5,5.5,-6.5",
    ],
)
def test_numbers_are_read_as_they_are_meant(row: str) -> None:
    text = SIGNED.replace("1.5 -2.25 -3e-05 -10.5 20.5 -30.5 -4.5 5.5 -6.5", row)
    np.testing.assert_array_equal(parse_bvh(text, "x").frames, parse_bvh(SIGNED, "x").frames)


def test_an_offset_whose_numbers_touch() -> None:
    file = parse_bvh(SMALL_BVH.replace("OFFSET 0 10 0", "OFFSET -1.5-10.25-3"), "x")
    np.testing.assert_array_equal(file.joints[1].offset, [-1.5, -10.25, -3.0])


@pytest.mark.parametrize("frames", ["Frames:", "Frames: 0", "Frames:              ", "Frames: 0000000000", ""])
def test_a_recorder_that_was_killed_leaves_its_whole_frames(frames: str) -> None:
    text = SMALL_BVH.replace("Frames: 2\n", frames + "\n" if frames else "")
    file = parse_bvh(text, "x")
    np.testing.assert_array_equal(file.frames, parse_bvh(SMALL_BVH, "x").frames)
    assert "gives no number of frames" in file.notes[0]
    assert "cut" not in file.notes[0]
    assert file.motion().notes == file.notes


@pytest.mark.parametrize(
    "end",
    [
        "9 9 9 1",
        "9 9 9 1\n",
        "9 9 9 1 2 3 4 5 6.0",  # of which a digit may be missing
        "9 9 9 -",
        "9 9 9 1e\n",
        "9 9" + "\x00" * 500,
    ],
)
def test_a_last_line_that_is_cut_is_left_out(end: str) -> None:
    file = parse_bvh(SMALL_BVH.replace("Frames: 2", "Frames:") + end, "x")
    np.testing.assert_array_equal(file.frames, parse_bvh(SMALL_BVH, "x").frames)
    assert "a last one that is cut was left out" in file.notes[0]


@pytest.mark.parametrize("at", range(1, 60))
def test_a_recording_cut_anywhere_gives_its_whole_frames(at: int) -> None:
    rows = ["1.25 2 3 10 20 30 4 5 6", "-7.5 8 9 0 0.125 0 0 0 0", "3 2 1 0 0 0 1 1 -1.75"]
    whole = SMALL_BVH[: SMALL_BVH.index("1 2 3 10")].replace("Frames: 2", "Frames:")
    body = "\n".join(rows) + "\n"
    complete = body[:at].count("\n")
    if complete == 0:
        with pytest.raises(InputError, match="holds no whole frame"):
            parse_bvh(whole + body[:at], "x")
        return
    wanted = np.array([row.split() for row in rows[:complete]], np.float64)
    np.testing.assert_array_equal(parse_bvh(whole + body[:at], "x").frames, wanted)


def test_without_a_count_a_lost_number_is_no_frame() -> None:
    text = SMALL_BVH.replace("Frames: 2", "Frames:").replace("1 2 3 10", "1 2 10")
    with pytest.raises(InputError, match=r"line 19 \(frame 1\): 8 numbers, but the hierarchy has 9 channels"):
        parse_bvh(text, "x")


def test_names_in_any_script(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        (tmp_path / "a.bvh").write_bytes(SMALL_BVH.replace("Chest", "Tórax").encode(encoding))
        assert read_bvh(tmp_path / "a.bvh").joints[1].name == "Tórax"


def test_a_small_file_of_many_rotations_is_refused() -> None:
    joints = "JOINT x { OFFSET 0 1 0 } " * 500
    text = "HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xrotation " + joints + "}\nMOTION\nFrames: 40000\n"
    with pytest.raises(InputError, match="40000 frames of 501 joints, more than the 16000000 rotations"):
        parse_bvh(text + "Frame Time: 0.01\n" + "0\n" * 40000, "x")


def test_positions_on_top_of_the_offset() -> None:
    text = SMALL_BVH.replace("CHANNELS 3 Z", "CHANNELS 6 Xposition Yposition Zposition Z").replace(
        "30 4", "30 0 0.5 0 4"
    )
    motion = parse_bvh(text.replace("0 0 0 0 0 0\n", "0 0 0 0 -0.5 0 0 0 0\n"), "x").motion()
    np.testing.assert_array_equal(motion.translations[1], [[0, 10.5, 0], [0, 9.5, 0]])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("factor", [0.01, 1.0])
def test_angles_in_radians_are_doubted(factor: float) -> None:
    file = walking_file()
    assert file.motion().notes == ()
    positions = np.array([channel[1:] == "position" for joint in file.joints for channel in joint.channels])
    joints = tuple(replace(joint, offset=joint.offset * factor) for joint in file.joints)
    frames = np.where(positions, file.frames * factor, np.deg2rad(file.frames))
    (note,) = replace(file, joints=joints, frames=frames).motion().notes
    assert "if they are radians, export it in degrees" in note


@pytest.mark.parametrize("sway_deg", [0.0, 0.5, 1.0, 3.0])
def test_somebody_who_stands_still_in_the_zero_pose_is_not_doubted(sway_deg: float) -> None:
    file = rig_file("mixamo", frames=60, bend_deg=sway_deg)
    assert file.motion().notes == ()


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.bvh")
    with pytest.raises(InputError, match="no ordinary file"):
        read_bvh(tmp_path / "a.bvh")


def test_a_joint_may_have_positions() -> None:
    text = SMALL_BVH.replace("CHANNELS 3 Z", "CHANNELS 6 Xposition Yposition Zposition Z").replace(
        "30 4", "30 1 11 2 4"
    )
    text = text.replace("0 0 0 0 0 0\n", "0 0 0 0 10 0 0 0 0\n")
    motion = parse_bvh(text, "x").motion()
    np.testing.assert_array_equal(motion.translations[1], [[1, 11, 2], [0, 10, 0]])


def test_zero_positions_of_a_joint_mean_its_offset() -> None:
    text = SMALL_BVH.replace("CHANNELS 3 Z", "CHANNELS 6 Xposition Yposition Zposition Z").replace("30 4", "30 0 0 0 4")
    text = text.replace("0 0 0 0 0 0\n", "0 0 0 0 0 0 0 0 0\n")
    motion = parse_bvh(text, "x").motion()
    positions, _ = rig_kinematics(motion)
    assert np.linalg.norm(positions[1] - positions[0], axis=1) == pytest.approx([10.0, 10.0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HIERARCHY", "<html>", "not a BVH file"),
        ("MOTION", "", "no MOTION section"),
        ("Frames: 2", "Frames: 3", "'Frames: 3' is announced and 2 are there: the file is cut off"),
        ("Frames: 2", "Frames: 1", "2 are there: the header was not updated"),
        ("Frames: 2", "Frames: two", "whole number"),
        ("Frames: 2", "Frames: -1", "whole number"),
        ("Frames: 2", "Frames: " + "9" * 5000, "whole number"),
        ("Frames: 2", "Frames: 99999999999", "whole number"),
        ("Frame Time: 0.0333333", "", "must follow MOTION"),
        ("0.0333333", "30", "may be frames per second"),
        ("0.0333333", "nan", "Frame Time: nan"),
        ("7 8 9 0 0 0 0 0 0", "7 8 9 0 0", r"line 20 \(frame 2 of 2\): 5 of 9 numbers: the file is cut off"),
        ("1 2 3 10 20", "1 2 3 10", r"line 19 \(frame 1 of 2\): 8 numbers, but the hierarchy has 9 channels"),
        ("1 2 3 10", "1 2 nan 10", r"line 19 .*nan is not a usable number"),
        ("1 2 3 10", "1 2 inf 10", "inf is not a usable number"),
        ("1 2 3 10", "1 2 1e300 10", "1e300 is not a usable number"),
        ("1 2 3 10", "1 2 3;5 10", r"line 19 .*'3;5' is not a number"),
        ("1 2 3 10", "1 2 3-4 10", r"line 19 .*: 10 numbers, but"),
        ("OFFSET 0 10 0", "OFFSET 0 10", "line 9: an OFFSET holds 'CHANNELS'"),
        ("OFFSET 0 10 0", "OFFSET 0 nan 0", "line 8: an OFFSET holds 'nan'"),
        ("CHANNELS 3 Z", "CHANNELS 4 Z", "the channel 'End' is unknown"),
        ("CHANNELS 3 Z", "CHANNELS 99 Z", "'99' channels, wanted 0 to 6"),
        ("CHANNELS 3 Z", f"CHANNELS {'9' * 5000} Z", r"channels, wanted 0 to 6"),
        ("CHANNELS 3 Z", "CHANNELS 3 W", "the channel 'Wrotation' is unknown"),
        ("JOINT Chest", "BONE Chest", "line 6: 'BONE' where ROOT, JOINT"),
        ("    }\n  }\n}\n", "    }\n  }\n", "a } is missing"),
        ("    }\n  }\n}\n", "    }\n  }\n}\nROOT Other\n{\n}\n", "a second ROOT"),
    ],
)
def test_damage_is_named_with_its_place(old: str, new: str, message: str) -> None:
    assert old in SMALL_BVH
    with pytest.raises(InputError, match=message) as caught:
        parse_bvh(SMALL_BVH.replace(old, new), "take.bvh")
    assert str(caught.value).startswith("take.bvh")


def test_a_file_without_channels_is_no_motion() -> None:
    text = SMALL_BVH.replace("CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n", "CHANNELS 0\n")
    with pytest.raises(InputError, match="no joint has CHANNELS"):
        parse_bvh(text.replace("CHANNELS 3 Zrotation Xrotation Yrotation", ""), "x")


def test_size_is_bounded() -> None:
    deep = "HIERARCHY\nROOT a {\nOFFSET 0 0 0\n" + "JOINT b {\nOFFSET 0 0 0\n" * 600
    with pytest.raises(InputError, match="more than 512 joints or 128 in a row"):
        parse_bvh(deep + "}" * 601 + "\nMOTION\nFrames: 1\nFrame Time: 0.1\n0\n", "x")


def test_an_absent_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_bvh(tmp_path / "absent.bvh")


def test_a_cut_anywhere_is_an_input_error() -> None:
    whole = SMALL_BVH.rstrip("\n")
    for stop in range(len(whole) - 1):  # the last number may lose nothing but a digit
        if whole[stop:].strip() and not whole[:stop].endswith("0 0 0 0 0 0"):
            with pytest.raises(InputError):
                parse_bvh(whole[:stop], "cut.bvh")


names = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8).filter(
    lambda name: name not in ("End", "MOTION")
)
numbers = st.floats(-1e6, 1e6)


@st.composite
def files(draw: st.DrawFn) -> BvhFile:
    joints = []
    for index in range(draw(st.integers(1, 6))):
        axes = draw(st.permutations("XYZ"))
        channels = tuple(f"{axis}rotation" for axis in axes[: draw(st.integers(1, 3))])
        if draw(st.booleans()):
            channels = (*(f"{axis}position" for axis in draw(st.permutations("XYZ"))), *channels)
        offset = np.array(draw(st.tuples(numbers, numbers, numbers)))
        site = np.array(draw(st.tuples(numbers, numbers, numbers))) if draw(st.booleans()) else None
        # A BVH file lists joints depth first: the parent is the last joint or one of its ancestors.
        line = [index - 1]
        while line[-1] >= 0:
            line.append(joints[line[-1]].parent)
        parents = [joint for joint in line if joint >= 0]
        parent = draw(st.sampled_from(parents)) if index else -1
        joints.append(BvhJoint(draw(names), parent, offset, channels, site))
    width = sum(len(joint.channels) for joint in joints)
    rows = draw(st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1, max_size=4))
    return BvhFile("made", tuple(joints), draw(st.floats(1e-3, 1.0)), np.array(rows, np.float64))


@settings(max_examples=60, deadline=None)
@given(files())
def test_what_is_written_is_read_back(file: BvhFile) -> None:
    back = parse_bvh(file.text(), "made")
    assert back.frame_time_s == file.frame_time_s
    np.testing.assert_array_equal(back.frames, file.frames)
    for ours, theirs in zip(file.joints, back.joints, strict=True):
        assert (ours.name, ours.parent, ours.channels) == (theirs.name, theirs.parent, theirs.channels)
        np.testing.assert_array_equal(ours.offset, theirs.offset)
        assert (ours.end_site is None) == (theirs.end_site is None)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_raise_input_errors_only(data: st.DataObject) -> None:
    content = bytearray(SMALL_BVH.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(at, min(at + 12, len(content))))
        content[at:stop] = data.draw(st.binary(max_size=12))
    _reads_or_refuses(content.decode("latin-1"))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_raises_input_errors_only(text: str) -> None:
    _reads_or_refuses(text)
    _reads_or_refuses("HIERARCHY\nROOT a {\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\n}\nMOTION\n" + text)
    _reads_or_refuses("HIERARCHY\n" + text + "\nMOTION\nFrames: 1\nFrame Time: 0.1\n0\n")


def _reads_or_refuses(text: str) -> None:
    try:
        file = parse_bvh(text, "fuzzed")
    except InputError as error:
        assert str(error).startswith("fuzzed")
    else:
        assert np.isfinite(file.frames).all()
        assert np.isfinite(file.motion().rotations).all()
