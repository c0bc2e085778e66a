"""Makes docs/pictures/vrm.png: one walk drives VRM avatars of different build; needs the recordings.

    python docs/make_vrm_picture.py

The avatars are VRM files made here of the shipped body; of the recordings no person is drawn but that body.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from make_pictures import BACKGROUND, DRIVEN_SAMPLES, DRIVEN_TAKE, SIDE_VIEW, Painter, recordings, save, sheet
from PIL import Image

from bodystream.avatar import LbsAvatar, VrmAvatar, VrmModel, load_rig
from bodystream.avatar.base import Avatar
from bodystream.device import select_device
from bodystream.geometry.camera import project
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton, align_rest
from bodystream.pose.estimator import PoseEstimator
from bodystream.pose.features import heading_rotation
from bodystream.sinks.vrm_file import write_vrm
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.motion import find_takes
from bodystream.types import Array, BodyPose, CameraIntrinsics, Mesh

CAMERA = CameraIntrinsics(560.0, 560.0, 319.5, 239.5, 640, 480)
WINDOW = (205, 95, 230, 325)
DISTANCE_M, AIM_M = 4.5, 0.93
FLOOR, TILE_M = (58, 64, 72), 0.25
SKIN, DARK = (224, 184, 160), (66, 52, 46)
CLOTHES = {"short": ((214, 96, 74), (70, 74, 92)), "tall": ((88, 132, 208), (60, 62, 68)),
           "long legs": ((120, 176, 104), (120, 92, 70))}  # fmt: skip
SLEEVES = ("spine1", "spine2", "spine3", "left_collar", "right_collar", "left_shoulder", "right_shoulder")
SHOES = ("left_ankle", "right_ankle", "left_foot", "right_foot")
TROUSERS = ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee")


def build(legs: float, arms: float, size: float) -> Skeleton:
    """The shipped body's proportions with other legs and arms."""
    offsets = align_rest(load_rig().bind_positions_m)[0].offsets_m.copy()
    for factor, parts in ((legs, ("knee", "ankle")), (arms, ("elbow", "wrist"))):
        offsets[[JOINT_INDEX[name] for name in JOINTS if name.partition("_")[2] in parts]] *= factor
    return Skeleton(offsets * size)


BUILDS = {"short": build(0.85, 0.95, 0.72), "tall": build(1.05, 1.05, 1.15), "long legs": build(1.3, 1.1, 0.92)}


def avatar_of(name: str, folder: Path) -> VrmModel:
    """A VRM file of a build and clothes of its own."""
    rig = load_rig()
    heaviest = rig.bones[np.arange(len(rig.bones)), rig.weights.argmax(axis=1)]
    colours = np.tile(np.array(SKIN, np.uint8), (len(rig.bones), 1))
    for parts, colour in zip((SLEEVES, TROUSERS), CLOTHES[name], strict=True):
        colours[np.isin(heaviest, [JOINT_INDEX[part] for part in parts])] = colour
    head = rig.bind_positions_m[JOINT_INDEX["head"]]
    above = rig.mesh.vertices - head
    hair = (heaviest == JOINT_INDEX["head"]) & (above[:, 1] + 0.6 * above[:, 2] > 0.105)  # the crown and behind it
    colours[hair | np.isin(heaviest, [JOINT_INDEX[part] for part in SHOES])] = DARK
    dressed = replace(rig, mesh=replace(rig.mesh, colours=colours))
    write_vrm(folder / "avatar.vrm", LbsAvatar(BUILDS[name], rig=dressed), name)
    return VrmModel(folder / "avatar.vrm")


def picture(avatar: Avatar, pose: BodyPose, truth: BodyPose, painter: Painter, scale: float) -> Image.Image:
    """The avatar on the floor, seen by a camera that walks beside it."""
    turn = heading_rotation(matrix_from_quaternion(truth.rotations_xyzw[0].astype(np.float64)))
    from_camera = turn @ SIDE_VIEW
    centre = scale * truth.root_position_m * (1, 0, 1) + (0, AIM_M, 0)

    def local(points_m: Array) -> Array:
        return (points_m - centre) @ from_camera + (0.0, 0.0, DISTANCE_M)

    mesh = avatar.pose(pose.rotations_xyzw, pose.root_position_m)
    assert mesh.normals is not None
    seen = Mesh(local(mesh.vertices).astype(np.float32), mesh.faces, (mesh.normals @ from_camera).astype(np.float32))
    image = painter.mesh(seen, avatar.colours)
    floor = np.full_like(image, BACKGROUND)
    first = np.floor((centre[[0, 2]] - 1.0) / TILE_M) * TILE_M
    for k in range(9):
        for axis in (0, 1):
            ends = np.tile(first, (2, 1))
            ends[:, axis] += k * TILE_M
            ends[1, 1 - axis] += 8 * TILE_M
            at = np.insert(ends, 1, 0.0, axis=1)
            a, b = np.round(project(local(at), painter.camera) * 16).astype(np.int32).tolist()
            cv2.line(floor, a, b, FLOOR, 2, cv2.LINE_AA, shift=4)
    empty = (image == BACKGROUND).all(axis=2)
    image[empty] = floor[empty]
    return painter.crop(image, WINDOW)


def main() -> None:
    takes = [take for take in find_takes(f"bvh:{recordings() / 'mocap' / 'cmu'}") if take.name == DRIVEN_TAKE]
    if not takes:
        raise SystemExit(f"{DRIVEN_TAKE} is not in {recordings()}: set BODYSTREAM_DATA to the folder of the recordings")
    source = MotionHeadset(takes[0].load(), hands="joint")
    person = source.clip.skeleton
    painter, estimator = Painter(CAMERA, 0.75, select_device("cpu")), PoseEstimator(person)
    avatars: dict[str, Avatar] = {"the person": LbsAvatar(person)}
    with tempfile.TemporaryDirectory() as folder:
        for name in BUILDS:
            avatars[name] = VrmAvatar(avatar_of(name, Path(folder)), person)
    rows: dict[str, list[Image.Image]] = {name: [] for name in avatars}
    for sample in source:
        pose = estimator.step(sample)
        if sample.index not in DRIVEN_SAMPLES or sample.truth is None:
            continue
        for name, avatar in avatars.items():
            scale = 1.0 if avatar.retarget is None else avatar.retarget.scale
            rows[name].append(picture(avatar, pose, sample.truth, painter, scale))
    titles = [f"{number / 90:.1f} s" for number in DRIVEN_SAMPLES]
    save(sheet(titles, list(rows.items()), "one walk, from head and wrists; tiles of the floor are 25 cm"), "vrm")


if __name__ == "__main__":
    main()
