"""What the page of a driven body is given, looked at on the server: no browser is needed."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.skeleton import HEAD, JOINTS, PARENTS, forward_kinematics
from bodystream.geometry.skinning import body_motion, unturned_bones
from bodystream.sinks.viewer import BodyViewer, BodyViewerState
from bodystream.sinks.viewer import body_encode as encode
from bodystream.sinks.viewer.body_page import BodyPage
from bodystream.sinks.viewer.body_state import check_body
from bodystream.sinks.viewer.hud import body_status_html
from bodystream.sinks.viewer.panel import FOV
from bodystream.sinks.viewer.skinned_node import dense_weights
from bodystream.types import BodyPose, DeviceKind, TrackedDevice
from bodystream.web.invitation import Invitation
from helpers.driven_body import PERIOD_NS, rest_pose, rotations_of_step, shipped_body, skinned, state_of, walking
from helpers.sink_shapes import tube

BODY, SKELETON = shipped_body()
FLOAT32_M = 1e-5  # what positions of a few metres lose on the way to the page


@pytest.fixture
def viewer() -> Iterator[BodyViewer]:
    with BodyViewer(BODY, port=0) as made:
        yield made


@pytest.fixture
def page(viewer: BodyViewer) -> BodyPage:
    assert isinstance(viewer._page, BodyPage)
    return viewer._page


def switch(page: BodyPage, name: str, on: bool) -> None:
    page._panel._switches[name].value = on
    page._panel._changed = True


def standing(**changes: Any) -> BodyViewerState:
    root = np.array([0.3, SKELETON.pelvis_height_m, -0.2])
    return replace(state_of(SKELETON, 5, rest_pose(), root), **changes)


def shown_vertices(page: BodyPage) -> np.ndarray:
    """What a browser's graphics card makes of the skinned mesh, by the motions that stand on the server."""
    assert page._skinned is not None
    (handle,) = page._skinned.parts

    def rigid(wxyz: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return Rotation.from_quat(np.roll(wxyz, -1, axis=-1)).as_matrix(), position

    bind_turns, bind_at = rigid(handle.bone_wxyzs, handle.bone_positions)
    turns, at = rigid(np.array([b.wxyz for b in handle.bones]), np.array([b.position for b in handle.bones]))
    out = np.zeros_like(handle.vertices, np.float64)
    for influence in range(4):
        bone = handle.skin_indices[:, influence]
        local = np.einsum("vji,vj->vi", bind_turns[bone], handle.vertices - bind_at[bone])
        weight = handle.skin_weights[:, influence, None]
        out += weight * (np.einsum("vij,vj->vi", turns[bone], local) + at[bone])
    return out


@pytest.mark.parametrize("phase", [0.0, 1.3, 4.0])
def test_the_browser_skins_to_where_the_body_is(page: BodyPage, phase: float) -> None:
    switch(page, "follow", False)
    rotations, root = rotations_of_step(phase, yaw=0.8), np.array([1.5, 0.9, -2.0])
    page.show(state_of(SKELETON, 3, rotations, root))
    wanted = skinned(BODY, *forward_kinematics(SKELETON.offsets_m, rotations, root))
    got = shown_vertices(page)
    assert np.abs(got - wanted).max() < 1e-4
    assert np.ptp(got[:, 1]) > 1.4 and np.abs(got - BODY.mesh.vertices).max() > 1.0  # it did move


def test_a_body_bound_in_the_t_pose_needs_no_turns() -> None:
    tpose = skinned(BODY, SKELETON.rest_positions_m, rest_pose()).astype(np.float32)
    mesh = replace(BODY.mesh, vertices=tpose)
    body = replace(BODY, mesh=mesh, bone_from_bind=unturned_bones(SKELETON.rest_positions_m))
    with BodyViewer(body, port=0) as viewer:
        page = viewer._page
        assert isinstance(page, BodyPage)
        assert page._skinned is not None
        assert (page._skinned.parts[0].bone_wxyzs == [1, 0, 0, 0]).all()
        switch(page, "follow", False)
        page.show(state_of(SKELETON, 0, rest_pose(), np.zeros(3)))
        assert np.abs(shown_vertices(page) - tpose).max() < 1e-4


def test_a_state_is_light(page: BodyPage) -> None:
    """Less than a twentieth of the 162 kB that the vertices take."""
    page.show(walking(SKELETON, 1, hypotheses=8)[0])
    assert 22 * 28 < page.bytes_sent < BODY.mesh.vertices.nbytes / 20


def test_what_is_switched_off_is_neither_sent_nor_shown(page: BodyPage) -> None:
    state = walking(SKELETON, 1, hypotheses=4)[0]
    page.show(state)
    before = page.bytes_sent
    for name in ("mesh", "skeleton", "uncertainty", "hypotheses", "input"):
        assert page._groups[name].visible
        switch(page, name, False)
        page.show(state)
        assert page.bytes_sent < before and not page._groups[name].visible
        before = page.bytes_sent
    assert before == 0


def test_the_surface_lets_the_skeleton_show_through(page: BodyPage) -> None:
    assert page._skinned is not None
    page.show(standing())
    assert page._skinned.opacity is not None and 0.2 < page._skinned.opacity < 0.8
    switch(page, "skeleton", False)
    page.show(standing())
    assert page._skinned.opacity is None


def test_following_keeps_the_person_in_the_middle_and_moves_the_floor(page: BodyPage) -> None:
    states = walking(SKELETON, 200)
    travelled = -states[-1].joints_m[0, 2]
    assert travelled > 2.0
    for state in states:
        page.show(state)
        pelvis = page._joints.batched_positions[0]
        assert np.hypot(pelvis[0], pelvis[2]) < 0.15 and pelvis[1] == pytest.approx(state.joints_m[0, 1], abs=1e-6)
        centre, floor = page._centre, np.asarray(page._floor.position)
        assert centre is not None and centre[1] == floor[1] == 0.0
        lines = (floor + centre) / 1.0  # whole sections: the floor's lines lie where they lie in the world
        assert np.abs(lines - lines.round()).max() < 1e-6
        # All that is shown moved by the same amount.
        assert np.abs(page._joints.batched_positions + centre - state.joints_m).max() < FLOAT32_M
        assert state.sample is not None and state.sample.head is not None
        head = page._handles["input/axes"].points[0, 0]
        assert np.abs(head + centre - state.sample.head.position_m).max() < FLOAT32_M
    switch(page, "follow", False)
    page.show(states[-1])
    assert np.abs(page._joints.batched_positions - states[-1].joints_m).max() < FLOAT32_M
    assert np.abs(np.asarray(page._floor.position)).max() == 0.0


def test_a_person_who_jumps_and_a_clock_that_goes_back_are_followed_at_once(page: BodyPage) -> None:
    for index, z in ((100, 0.0), (101, -5.0), (50, -5.2)):
        page.show(state_of(SKELETON, index, rest_pose(), np.array([0.0, 0.9, z])))
        assert np.abs(page._joints.batched_positions[0, [0, 2]]).max() < 1e-6


def test_a_lost_hand_stays_grey_where_it_was(page: BodyPage) -> None:
    switch(page, "follow", False)
    seen, lost = walking(SKELETON, 1, 10)[0], walking(SKELETON, 1, 60, lost=True)[0]
    page.show(seen)
    assert {name: label.text for name, label in page._labels.items()} == {
        "head": "Headset",
        "left": "Left hand",
        "right": "Right controller",
    }
    axes = page._handles["input/axes"]
    before, coloured = axes.points[3:6].copy(), axes.colors[3:6].copy()
    page.show(lost)
    assert page._labels["left"].text == "Left hand: lost" and page._labels["left"].visible
    assert np.array_equal(axes.points[3:6], before) and not np.array_equal(axes.points[:3], before)
    spread = np.ptp(axes.colors[3:6].astype(int), axis=-1)
    assert spread.max() < 16 < np.ptp(coloured.astype(int), axis=-1).min()
    page.show(replace(lost, sample=None))  # no sample at all: all of it is grey
    assert np.ptp(axes.colors.astype(int), axis=-1).max() < 16
    page.show(replace(seen, t_ns=70 * PERIOD_NS))
    assert page._labels["left"].text == "Left hand"


def test_a_device_that_never_was_is_not_shown(page: BodyPage) -> None:
    state = standing()
    assert state.sample is not None
    page.show(replace(state, sample=replace(state.sample, left=None, right=None)))
    assert page._labels["head"].visible and not page._labels["left"].visible
    assert len(page._handles["input/axes"].points) == 3


def test_hypotheses_and_uncertainty_come_and_go(page: BodyPage) -> None:
    page.show(walking(SKELETON, 1, hypotheses=3)[0])
    assert page._handles["hypotheses/bones"].points.shape == (63, 2, 3)
    assert page._groups["hypotheses"].visible and page._groups["uncertainty"].visible
    without = replace(standing(), hypotheses_m=None)
    page.show(replace(without, joint_std_m=None, pose=replace(without.pose, joint_std_m=None)))
    assert not page._groups["hypotheses"].visible and not page._groups["uncertainty"].visible
    assert len(np.unique(page._joints.batched_colors, axis=0)) == 1
    page.show(walking(SKELETON, 1, 40, hypotheses=5)[0])
    assert page._handles["hypotheses/bones"].points.shape == (105, 2, 3)
    assert page._groups["hypotheses"].visible and page._groups["uncertainty"].visible
    state = page._latest
    assert state is not None and state.joint_std_m is not None
    assert np.allclose(page._spheres.batched_scales, state.joint_std_m)


def test_feet_that_stand_are_marked(page: BodyPage) -> None:
    state = standing()
    for contacts in ((True, False), (False, True), (True, True)):
        page.show(replace(state, pose=replace(state.pose, contacts=np.array(contacts))))
        assert ((page._contacts.batched_scales > 0.01) == contacts).all()
    page.show(replace(state, pose=replace(state.pose, contacts=None)))
    assert (page._contacts.batched_scales < 0.01).all()


def test_a_mesh_that_was_posed_elsewhere_takes_the_body_s_place(page: BodyPage) -> None:
    assert page._skinned is not None
    page.show(standing(mesh=tube()))
    assert page._surface_frame.visible and not page._skinned.visible and page.bytes_sent > 5000
    assert page._centre is not None
    assert np.allclose(page._surface_frame.position, -page._centre)
    page.show(standing())
    assert page._skinned.visible and not page._surface_frame.visible


def test_another_body_takes_the_place_of_the_first(page: BodyPage) -> None:
    """As after a calibration; the same object is not sent again."""
    switch(page, "follow", False)
    page.show(standing())
    first = page._skinned
    mesh, bones = replace(BODY.mesh, vertices=BODY.mesh.vertices * np.float32(1.1)), BODY.bone_from_bind.copy()
    bones[:, :3, 3] *= 1.1
    larger = replace(BODY, mesh=mesh, bone_from_bind=bones, version=1)
    page.show(standing(body=larger))
    second = page._skinned
    assert second is not None and second is not first and second.opacity is not None
    np.testing.assert_array_equal(second.parts[0].vertices, larger.mesh.vertices)
    state = standing(body=larger)
    page.show(state)
    assert page._skinned is second
    np.testing.assert_allclose([bone.position for bone in second.parts[0].bones], state.joints_m, atol=FLOAT32_M)


def test_without_a_body_the_skeleton_is_shown() -> None:
    with BodyViewer(port=0) as viewer:
        page = viewer._page
        assert isinstance(page, BodyPage)
        page.show(standing())
        assert page._skinned is None and page.bytes_sent > 500


@pytest.mark.parametrize("what", ["joints", "rotations"])
def test_a_pose_that_is_not_finite_is_refused_and_the_last_one_stays(page: BodyPage, what: str) -> None:
    page.show(standing())
    before = page._joints.batched_positions.copy()
    bad = standing()
    array = bad.joints_m if what == "joints" else bad.pose.rotations_xyzw
    array[3, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        page.show(bad)
    assert np.array_equal(page._joints.batched_positions, before)


@settings(max_examples=80, deadline=None)
@given(st.floats(0.4, 3.0), st.floats(-math.pi, math.pi), st.floats(0.0, 2 * math.pi))
def test_the_whole_person_is_in_the_picture(aspect: float, yaw: float, phase: float) -> None:
    page = BodyPage.__new__(BodyPage)  # only its camera
    rotations = rotations_of_step(phase, yaw)
    joints, _ = forward_kinematics(SKELETON.offsets_m, rotations, np.zeros(3))
    joints = joints + [0.0, 0.03 - joints[:, 1].min(), 0.0]
    page._view_yaw = encode.facing_yaw(state_of(SKELETON, 0, rotations, np.zeros(3)).pose)
    page._subject = np.zeros(3)
    position, look_at = page._view(aspect)
    forward = (look_at - position) / np.linalg.norm(look_at - position)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    depth = (joints - position) @ forward
    assert depth.min() > 0.5
    x = (joints - position) @ right / depth / (math.tan(FOV / 2) * aspect)
    y = (joints - position) @ up / depth / math.tan(FOV / 2)
    assert np.abs(x).max() < 1.0 and np.abs(y).max() < 1.0
    looks = -Rotation.from_matrix(rotations[0]).as_matrix()[:, 2]
    assert looks @ forward < -0.5  # at the person's face


def test_orientations_of_bones_against_a_product_of_rotations() -> None:
    pose = state_of(SKELETON, 0, rotations_of_step(2.2, 1.1), np.zeros(3)).pose
    local, world = Rotation.from_quat(pose.rotations_xyzw), []
    for joint in range(len(JOINTS)):
        world.append(local[joint] if joint == 0 else world[PARENTS[joint]] * local[joint])
    got = Rotation.from_quat(body_motion(pose, np.zeros((22, 3))).rotations_xyzw)
    assert max((a.inv() * b).magnitude() for a, b in zip(world, got, strict=True)) < 1e-6


@settings(max_examples=50, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-1.2, 1.2))
def test_facing_is_the_turn_about_the_vertical(yaw: float, lean: float) -> None:
    turns = Rotation.from_euler("YX", [yaw, lean])
    rotations = np.tile(np.array([0, 0, 0, 1.0]), (22, 1))
    rotations[0] = turns.as_quat()
    pose = BodyPose(0, rotations, np.zeros(3))
    assert encode.facing_yaw(pose) == pytest.approx(yaw, abs=1e-6)
    rotations[0] = Rotation.from_euler("X", math.pi / 2).as_quat()
    assert encode.facing_yaw(BodyPose(0, rotations, np.zeros(3))) == 0.0


def test_axes_are_the_columns_of_the_rotation() -> None:
    turn = Rotation.from_rotvec([0.3, -1.0, 0.5])
    device = TrackedDevice(np.array([1.0, 1.5, -2.0]), turn.as_quat(), DeviceKind.VIEW)
    lines, colours = encode.axes_segments({"a": (device, True), "b": (device, False)}, 0.2)
    assert lines.shape == colours.shape == (6, 2, 3)
    assert np.allclose(lines[:3, 0], device.position_m)
    assert np.allclose(lines[:3, 1] - lines[:3, 0], 0.2 * turn.as_matrix().T, atol=1e-6)
    assert np.array_equal(colours[:3, 0], encode.AXIS_COLOURS) and np.array_equal(colours[:, 0], colours[:, 1])
    assert encode.axes_segments({}, 0.2)[0].shape == (0, 2, 3)


def test_lines_join_each_joint_to_its_parent() -> None:
    joints = np.random.default_rng(0).normal(size=(3, 22, 3))
    lines = encode.bone_segments(joints)
    assert lines.shape == (63, 2, 3) and lines.dtype == np.float32
    assert np.allclose(lines[21 + 20], joints[1, [PARENTS[21], 21]])
    assert {tuple(p) for p in lines[:21, 1]} == {tuple(p) for p in joints[0, 1:].astype(np.float32)}


def test_the_less_sure_the_redder() -> None:
    colours = encode.uncertainty_colours(np.array([0.0, 0.01, 0.02, 0.0316, 0.06, 0.1, 5.0])).astype(int)
    assert np.array_equal(colours[0], colours[1]) and np.array_equal(colours[-1], colours[-2])
    redness = colours[1:-1, 0] - colours[1:-1, 1]
    assert (np.diff(redness) > 0).all() and redness[0] < -50 and redness[-1] > 100


def test_weights_of_a_joint_named_twice_add_up() -> None:
    joints = BODY.bones.copy()
    joints[0], weights = [HEAD, HEAD, 3, -1], BODY.weights.copy()
    weights[0] = [0.25, 0.25, 0.5, 0.0]
    dense = dense_weights(replace(BODY, bones=joints, weights=weights))
    assert dense[0, HEAD] == pytest.approx(0.5) and dense[0, 3] == pytest.approx(0.5)
    assert np.abs(dense.sum(axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh": replace(BODY.mesh, faces=np.zeros((0, 3), np.int32))}, "needs vertices and faces, got 13492 and 0"),
        ({"bone_from_bind": np.tile(np.eye(4), (24, 1, 1)), "parents": None, "names": None}, "22 joints .* got 24"),
        ({"mesh": replace(BODY.mesh, faces=BODY.mesh.faces + 13492)}, "faces refer to vertices 13492"),
        ({"mesh": replace(BODY.mesh, faces=BODY.mesh.faces - 1)}, "faces refer to vertices -1"),
        ({"mesh": replace(BODY.mesh, vertices=BODY.mesh.vertices * np.nan)}, "13492 vertices are not finite"),
        ({"weights": BODY.weights / 2}, "must sum to 1 per vertex, got 0.5 to 0.5: normalise them"),
    ],
)
def test_a_body_that_the_page_cannot_show_is_refused_before_it_opens(changes: dict[str, Any], message: str) -> None:
    body = replace(BODY, **changes)
    with pytest.raises(InputError, match=message):
        check_body(body)
    with pytest.raises(InputError, match=message):
        BodyViewer(body, port=0)


@pytest.mark.parametrize(
    "changes",
    [{"joints_m": np.zeros((24, 3))}, {"hypotheses_m": np.zeros((4, 21, 3))}, {"joint_std_m": np.zeros((22, 3))}],
)
def test_a_state_that_cannot_be(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(InputError, match=f"the viewer's {name} must have shape"):
        standing(**changes)


def test_what_the_pose_knows_need_not_be_said_twice() -> None:
    pose = replace(standing().pose, flags=("left_lost",), joint_std_m=np.full(22, 0.02, np.float32))
    state = BodyViewerState(0, pose, np.zeros((22, 3)))
    assert state.flags == ("left_lost",) and state.joint_std_m is pose.joint_std_m
    assert BodyViewerState(0, pose, np.zeros((22, 3)), flags=("calibrating",)).flags == ("calibrating",)


def test_panel_shows_figures_and_escapes_text() -> None:
    state = replace(walking(SKELETON, 1, lost=True)[0], flags=("left_lost", "<b>"))
    text = body_status_html(replace(state, pose=replace(state.pose, reason="a < b")), True)
    for part in ("Degraded", "a &lt; b", "89.7", "6.3 ms", "8.4 ms", "left lost", "&lt;b&gt;", "feet on the floor"):
        assert part in text
    plain = body_status_html(replace(state, latency_ms=None, data_age_ms=None, flags=()), False)
    assert "Paused" in plain and "latency" not in plain and "border:1px" not in plain


def test_figures_are_renewed_five_times_a_second_but_a_change_of_status_at_once(page: BodyPage) -> None:
    page.show(standing(rate_hz=10.0))
    page.show(standing(rate_hz=20.0))
    assert "10.0" in page._panel.text("status")
    page.show(walking(SKELETON, 1, lost=True)[0])
    assert "Degraded" in page._panel.text("status")
    page.show(standing(rate_hz=30.0))
    assert "30.0" in page._panel.text("status")
    page.show(standing(rate_hz=40.0))
    assert "30.0" in page._panel.text("status")
    time.sleep(0.25)
    page.show(standing(rate_hz=40.0))
    assert "40.0" in page._panel.text("status")


def test_the_reason_why_a_hand_is_left_out_is_on_the_page(page: BodyPage) -> None:
    pose = replace(standing().pose, flags=("left_emulated",), reason="the headset only guesses where the left hand is")
    page.show(standing(pose=pose, flags=("left_emulated",)))
    text = page._panel.text("status")
    assert "left emulated" in text and "only guesses where the left hand is" in text


def test_the_legend_has_the_colours_that_are_drawn(page: BodyPage) -> None:
    legend = page._panel.text("legend")
    for std_m in (encode.CERTAIN_M, encode.UNCERTAIN_M):
        assert "rgb({},{},{})".format(*encode.uncertainty_colours(np.array([std_m]))[0]) in legend
    assert "1 to 10 cm" in legend and "one standard deviation" in legend and "another pose" in legend


def test_the_invitation_stands_while_there_is_no_headset(viewer: BodyViewer, page: BodyPage) -> None:
    viewer.invitation = Invitation("https://192.168.1.2:8443/?token=<abc>", '<svg onload="alert(1)"></svg>')
    text = page._panel.text("invitation")
    assert "https://192.168.1.2:8443/?token=&lt;abc&gt;" in text and "<svg" not in text and "onload" not in text
    picture = text.split("base64,")[1].split('"')[0]
    assert base64.b64decode(picture) == viewer.invitation.svg.encode()
    viewer._show(standing())
    assert page._panel.text("invitation") == ""
    viewer._show(standing(sample=None))  # it is gone again
    assert "192.168.1.2" in page._panel.text("invitation")
    viewer.invitation = Invitation("https://a/")
    assert "<img" not in page._panel.text("invitation")
    viewer.invitation = None
    assert page._panel.text("invitation") == ""


def test_without_a_browser_nothing_is_done(viewer: BodyViewer) -> None:
    assert viewer.wants_state
    state = standing()
    for _ in range(10_000):
        viewer.publish(state)
    assert viewer.shown == 0 and viewer.bytes_per_state == 0 and not viewer.wants_state


def test_poses_that_are_not_finite_are_reported_once_and_hold_nothing_up(
    viewer: BodyViewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BodyViewer, "client_count", 1)
    for _ in range(5):
        viewer.publish(standing(joints_m=np.full((22, 3), np.nan)))
        time.sleep(0.05)
    viewer.publish(standing())
    end = time.monotonic() + 10
    while viewer.shown == 0 and time.monotonic() < end:
        time.sleep(0.02)
    assert viewer.shown == 1 and viewer.bytes_per_state > 0
    assert viewer.warnings == [
        "viewer: InputError: the pose has joints or rotations that are not finite: it is not shown"
    ]
