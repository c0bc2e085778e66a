"""Makes the pictures of poses that leave the program, into docs/pictures; needs the recordings.

    python docs/make_pose_pictures.py            # send: what receivers are sent; poses: poses of a time to come
    python docs/make_pose_pictures.py send

Of the recordings no person is drawn but the shipped body.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import cv2
import numpy as np
from make_pictures import (
    BACKGROUND,
    DRIVEN_TAKE,
    EDGE,
    NODE,
    SIDE_VIEW,
    TEXT,
    Painter,
    recordings,
    save,
    sheet,
)
from PIL import Image, ImageDraw, ImageFont

from bodystream.avatar import LbsAvatar
from bodystream.device import select_device
from bodystream.geometry.camera import project
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import PARENTS
from bodystream.geometry.skeleton_maps import UNITY_BONES
from bodystream.geometry.unity import unity_vectors
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pose.features import heading_rotation
from bodystream.sinks.send import BD24_JOINT, VRCHAT_TRACKERS, DrivenPose, PosedBones, bd24_message
from bodystream.sinks.send.vmc import vmc_bundles
from bodystream.sinks.send.vrchat import vrchat_bundles
from bodystream.sources.headset.osc import OscMessage, read_osc
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.motion import find_takes
from bodystream.types import Array, BodyPose, CameraIntrinsics, Mesh

# As make_pictures.SIDE_VIEW, from farther ahead.
FRONT_VIEW = np.array([[-0.906, 0.0, -0.423], [0.0, -1.0, 0.0], [-0.423, 0.0, 0.906]])
CAMERA = CameraIntrinsics(560.0, 560.0, 319.5, 239.5, 640, 480)
WINDOW = (195, 20, 250, 445)
AXES = ((0, (226, 92, 84)), (1, (110, 196, 92)), (2, (96, 144, 240)))
AHEAD_NS = 50_000_000
SENT_SAMPLE, FORETOLD_SAMPLES = 96, (66, 84, 102, 120, 138)
MEASURED, OLD = (255, 190, 70), (104, 160, 224)


class View:
    """The camera beside somebody who walks."""

    def __init__(self, truth: BodyPose, painter: Painter, view: Array = SIDE_VIEW) -> None:
        turn = heading_rotation(matrix_from_quaternion(truth.rotations_xyzw[0].astype(np.float64)))
        self._from_camera = turn @ view
        self._centre = truth.root_position_m * (1, 0, 1) + (0, 0.95, 0)
        self._painter = painter

    def body(self, mesh: Mesh, colours: Array | None, light: float = 1.0) -> Array:
        """(H, W, 3) uint8 of a surface in the world, dimmed."""
        local = self.local(mesh.vertices).astype(np.float32)
        assert mesh.normals is not None
        normals = (mesh.normals @ self._from_camera).astype(np.float32)
        image = self._painter.mesh(Mesh(local, mesh.faces, normals), colours)
        return (BACKGROUND + light * (image.astype(np.float64) - BACKGROUND)).astype(np.uint8)

    def local(self, points_m: Array) -> Array:
        return (points_m - self._centre) @ self._from_camera + (0.0, 0.0, 3.0)

    def at(self, points_m: Array) -> Array:
        """Pixels of points in the world, in sixteenths."""
        return np.round(project(self.local(np.asarray(points_m)), self._painter.camera) * 16).astype(np.int32)

    def sticks(self, image: Array, joints_m: Array, colour: tuple[int, int, int]) -> None:
        at = self.at(joints_m)
        for joint, parent in enumerate(PARENTS):
            if parent >= 0:
                cv2.line(image, at[joint].tolist(), at[parent].tolist(), colour, 3, cv2.LINE_AA, shift=4)
        self.dots(image, joints_m, [colour] * len(joints_m))

    def dots(self, image: Array, points_m: Array, colours: Sequence[tuple[int, int, int]], radius: int = 5) -> None:
        for pixel, colour in zip(self.at(points_m), colours, strict=True):
            cv2.circle(image, pixel.tolist(), radius * 16, colour, -1, cv2.LINE_AA, shift=4)


def messages_of(bundles: Sequence[bytes]) -> list[OscMessage]:
    return [message for bundle in bundles for message in read_osc(bundle).messages]


def vmc_joints(driven: DrivenPose) -> Array:
    """(22, 3) of what a receiver makes of the bones that it is sent [m], back in our axes."""
    local = {m.arguments[0]: m.arguments[1:] for m in messages_of(vmc_bundles(driven, 0.0)) if "/Bone/" in m.address}
    bones = [np.array(local[bone]) for bone in UNITY_BONES.values()]
    places, turns = [bones[0][:3]], [matrix_from_quaternion(bones[0][3:])]
    for bone, parent in zip(bones[1:], PARENTS[1:], strict=True):
        places.append(places[parent] + turns[parent] @ bone[:3])
        turns.append(turns[parent] @ matrix_from_quaternion(bone[3:]))
    return unity_vectors(np.array(places))


def make_send(source: MotionHeadset, avatar: LbsAvatar, painter: Painter) -> None:
    """One moment as each receiver is sent it."""
    samples = list(source)
    with DriveSession(config=DriveConfig(skeleton=source.clip.skeleton), device="cpu") as session:
        for sample in samples[: SENT_SAMPLE + 1]:
            result = session.push(sample)
    truth = samples[SENT_SAMPLE].truth
    assert result is not None and truth is not None
    person = PosedBones(result.pose, source.clip.skeleton)
    driven = DrivenPose(person, result.sample, person)
    view = View(truth, painter, FRONT_VIEW)
    mesh = avatar.pose(result.pose.rotations_xyzw, result.pose.root_position_m)
    shown = [view.body(mesh, avatar.colours)] + [view.body(mesh, avatar.colours, 0.35) for _ in range(3)]
    view.sticks(shown[1], vmc_joints(driven), EDGE)

    values = {m.address: np.array(m.arguments) for m in messages_of(vrchat_bundles(driven, tuple(VRCHAT_TRACKERS)))}
    numbers = [number for number, _, _ in VRCHAT_TRACKERS.values()]
    places = unity_vectors(np.array([values[f"/tracking/trackers/{n}/position"] for n in numbers]))
    for number, place in zip(numbers, places, strict=True):
        x, y, z = np.radians(values[f"/tracking/trackers/{number}/rotation"])
        turn = _about(1, y) @ _about(0, x) @ _about(2, z)  # as Unity: about z, then x, then y
        for axis, colour in AXES:
            tip = place + 0.13 * unity_vectors(turn[:, axis])
            a, b = view.at(np.stack([place, tip]))
            cv2.line(shown[2], a.tolist(), b.tolist(), colour, 4, cv2.LINE_AA, shift=4)
    view.dots(shown[2], places, [TEXT] * len(places), 6)

    joints = np.frombuffer(bd24_message(driven, 0), BD24_JOINT, offset=40)
    view.dots(shown[3], joints["position_m"], [NODE if flag & 8 else EDGE for flag in joints["flags"]], 7)

    pictures = [painter.crop(image, WINDOW) for image in shown]
    _name(pictures[2], [f"{n}" for n in numbers], view.at(places) / 16, painter)
    titles = ("Driven", "VMC", "VRChat", "BD-24")
    footer = (
        "VMC: 22 bones; VRChat: trackers 1 to 8 and the head; BD-24: 24 joints, measured (yellow) and inferred (blue)"
    )
    save(sheet(titles, [("", pictures)], footer), "send")


def _about(axis: int, angle: float) -> Array:
    turn, (i, j) = np.eye(3), ((1, 2), (2, 0), (0, 1))[axis]
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[j, i], turn[i, j] = np.sin(angle), -np.sin(angle)
    return turn


def _name(picture: Image.Image, names: Sequence[str], pixels: Array, painter: Painter) -> None:
    """Write names beside pixels of the painter's picture, on what was cropped from it."""
    scale = painter.camera.width / 640
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for name, (u, v) in zip(names, pixels.tolist(), strict=True):
        draw.text((u / 2 - WINDOW[0] * scale / 2 + 8, v / 2 - WINDOW[1] * scale / 2 - 8), name, TEXT, font, anchor="lm")


def make_poses(source: MotionHeadset, avatar: LbsAvatar, painter: Painter) -> None:
    """Somebody who walks, as known 50 ms before, and as foretold then."""
    samples = list(source)
    skeleton = source.clip.skeleton
    true_joints, _ = source.clip.joints()
    pictures: list[Image.Image] = []
    errors_mm: list[tuple[float, float]] = []
    with DriveSession(config=DriveConfig(skeleton=skeleton), device="cpu") as session:
        for sample in samples:
            result = session.push(sample)
            later = sample.index + round(AHEAD_NS * 90e-9)
            if result is None or later >= len(samples) or sample.index < 45:
                continue
            truth, ahead = samples[later].truth, session.pose_at(samples[later].t_ns)
            assert truth is not None
            off = [np.linalg.norm(j - true_joints[later], axis=1).mean() for j in (result.joints_m, ahead.joints_m)]
            errors_mm.append((1e3 * float(off[0]), 1e3 * float(off[1])))
            if later in FORETOLD_SAMPLES:
                view = View(truth, painter)
                image = view.body(avatar.pose(truth.rotations_xyzw, truth.root_position_m), None, 0.5)
                view.sticks(image, result.joints_m, OLD)
                view.sticks(image, ahead.joints_m, MEASURED)
                pictures.append(painter.crop(image, WINDOW))
    known, foretold = np.mean(errors_mm, axis=0)
    titles = [f"{number / 90:.1f} s" for number in FORETOLD_SAMPLES]
    footer = (
        f"grey: the person; blue: the newest pose, 50 ms old ({known:.0f} mm off on average); yellow: "
        f"pose_at(now), {foretold:.0f} mm off"
    )
    save(sheet(titles, [("", pictures)], footer), "poses")


MAKERS = {"send": make_send, "poses": make_poses}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of poses that leave the program.")
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(MAKERS)}; default: all")
    names = parser.parse_args().names or list(MAKERS)
    takes = [take for take in find_takes(f"bvh:{recordings() / 'mocap' / 'cmu'}") if take.name == DRIVEN_TAKE]
    if not takes or any(name not in MAKERS for name in names):
        parser.error(f"pictures are {', '.join(MAKERS)}, and of the recordings {DRIVEN_TAKE} is needed")
    clip = takes[0].load()
    painter, avatar = Painter(CAMERA, 0.8, select_device("cpu")), LbsAvatar(clip.skeleton)
    for name in names:
        MAKERS[name](MotionHeadset(clip), avatar, painter)


if __name__ == "__main__":
    main()
