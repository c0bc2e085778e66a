"""Small motion files for tests: a T-pose skeleton in the rigs' words, and random motions of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.sources.motion.bvh import BvhFile, BvhJoint

SMALL_BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Chest
  {
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 5 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0333333
1 2 3 10 20 30 4 5 6
7 8 9 0 0 0 0 0 0
"""
"""Two joints and two frames, each number another."""

# name, parent, offset in centimetres; facing +z, the left at +x.
CMU_LIKE = (
    ("Hips", "", (0.0, 0.0, 0.0)),
    ("LHipJoint", "Hips", (0.0, 0.0, 0.0)),
    ("LeftUpLeg", "LHipJoint", (9.0, -10.0, 3.0)),
    ("LeftLeg", "LeftUpLeg", (14.0, -39.0, 0.0)),
    ("LeftFoot", "LeftLeg", (13.0, -37.0, 0.0)),
    ("LeftToeBase", "LeftFoot", (1.0, -3.0, 12.0)),
    ("RHipJoint", "Hips", (0.0, 0.0, 0.0)),
    ("RightUpLeg", "RHipJoint", (-9.0, -10.0, 3.0)),
    ("RightLeg", "RightUpLeg", (-14.0, -39.0, 0.0)),
    ("RightFoot", "RightLeg", (-13.0, -37.0, 0.0)),
    ("RightToeBase", "RightFoot", (-1.0, -3.0, 12.0)),
    ("LowerBack", "Hips", (0.0, 0.0, 0.0)),
    ("Spine", "LowerBack", (0.0, 12.0, -1.0)),
    ("Spine1", "Spine", (0.0, 12.0, 0.0)),
    ("Neck", "Spine1", (0.0, 12.0, 0.0)),
    ("Neck1", "Neck", (0.0, 9.0, 1.0)),
    ("Head", "Neck1", (0.0, 9.0, -1.0)),
    ("LeftShoulder", "Spine1", (0.0, 12.0, 0.0)),
    ("LeftArm", "LeftShoulder", (20.0, 5.0, -1.0)),
    ("LeftForeArm", "LeftArm", (27.0, 0.0, 0.0)),
    ("LeftHand", "LeftForeArm", (25.0, 0.0, 0.0)),
    ("LThumb", "LeftHand", (3.0, 0.0, 3.0)),
    ("RightShoulder", "Spine1", (0.0, 12.0, 0.0)),
    ("RightArm", "RightShoulder", (-20.0, 5.0, -1.0)),
    ("RightForeArm", "RightArm", (-27.0, 0.0, 0.0)),
    ("RightHand", "RightForeArm", (-25.0, 0.0, 0.0)),
    ("RThumb", "RightHand", (-3.0, 0.0, 3.0)),
)
DAZ_LIKE = (
    ("hip", "", (0.0, 0.0, 0.0)),
    ("abdomen", "hip", (0.0, 20.0, -1.0)),
    ("chest", "abdomen", (0.0, 12.0, 0.0)),
    ("neck", "chest", (0.0, 22.0, -2.0)),
    ("head", "neck", (0.0, 8.0, 1.0)),
    ("leftEye", "head", (4.0, 8.0, 8.0)),
    ("rCollar", "chest", (-3.0, 19.0, -4.0)),
    ("rShldr", "rCollar", (-10.0, -2.0, 1.0)),
    ("rForeArm", "rShldr", (-28.0, -1.0, 0.0)),
    ("rHand", "rForeArm", (-22.0, 1.0, 7.0)),
    ("rThumb1", "rHand", (-1.0, 0.0, 4.0)),
    ("lCollar", "chest", (3.0, 19.0, -4.0)),
    ("lShldr", "lCollar", (10.0, -2.0, 1.0)),
    ("lForeArm", "lShldr", (28.0, -1.0, 0.0)),
    ("lHand", "lForeArm", (22.0, 1.0, 7.0)),
    ("lThumb1", "lHand", (1.0, 0.0, 4.0)),
    ("rButtock", "hip", (-9.0, 4.0, 1.0)),
    ("rThigh", "rButtock", (0.0, -2.0, -2.0)),
    ("rShin", "rThigh", (0.0, -37.0, 1.0)),
    ("rFoot", "rShin", (1.0, -45.0, -5.0)),
    ("lButtock", "hip", (9.0, 4.0, 1.0)),
    ("lThigh", "lButtock", (0.0, -2.0, -2.0)),
    ("lShin", "lThigh", (0.0, -37.0, 1.0)),
    ("lFoot", "lShin", (-1.0, -45.0, -5.0)),
)
MIXAMO_LIKE = (
    ("mixamorig:Hips", "", (0.0, 0.0, 0.0)),
    ("mixamorig:Spine", "mixamorig:Hips", (0.0, 10.0, -1.0)),
    ("mixamorig:Spine1", "mixamorig:Spine", (0.0, 12.0, 0.0)),
    ("mixamorig:Spine2", "mixamorig:Spine1", (0.0, 13.0, 0.0)),
    ("mixamorig:Neck", "mixamorig:Spine2", (0.0, 15.0, 1.0)),
    ("mixamorig:Head", "mixamorig:Neck", (0.0, 10.0, 3.0)),
    *(
        row
        for side, x in (("Left", 1.0), ("Right", -1.0))
        for row in (
            (f"mixamorig:{side}Shoulder", "mixamorig:Spine2", (6.0 * x, 9.0, 0.0)),
            (f"mixamorig:{side}Arm", f"mixamorig:{side}Shoulder", (13.0 * x, 0.0, 0.0)),
            (f"mixamorig:{side}ForeArm", f"mixamorig:{side}Arm", (27.0 * x, 0.0, 0.0)),
            (f"mixamorig:{side}Hand", f"mixamorig:{side}ForeArm", (26.0 * x, 0.0, 0.0)),
        )
    ),
    *(
        row
        for side, x in (("Left", 1.0), ("Right", -1.0))
        for row in (
            (f"mixamorig:{side}UpLeg", "mixamorig:Hips", (9.0 * x, -6.0, 0.0)),
            (f"mixamorig:{side}Leg", f"mixamorig:{side}UpLeg", (0.0, -42.0, 0.0)),
            (f"mixamorig:{side}Foot", f"mixamorig:{side}Leg", (0.0, -43.0, -2.0)),
            (f"mixamorig:{side}ToeBase", f"mixamorig:{side}Foot", (0.0, -8.0, 13.0)),
        )
    ),
)
RIGS = {"cmu": CMU_LIKE, "daz": DAZ_LIKE, "mixamo": MIXAMO_LIKE}
# Joints between two of the 22: bones change their length where these bend.
STIFF = ("LHipJoint", "RHipJoint", "Neck1", "lButtock", "rButtock")


def rig_file(rig: str, frames: int = 12, seed: int = 0, bend_deg: float = 35.0, order: str = "ZYX") -> BvhFile:
    """A BVH file of a rig: random angles in every joint, a pelvis that wanders a little about 95 cm height."""
    rng = np.random.default_rng(seed)
    names = [name for name, _, _ in RIGS[rig]]
    joints, columns = [], []
    for name, parent, offset in RIGS[rig]:
        channels = tuple(f"{axis}rotation" for axis in order)
        if not parent:
            channels = ("Xposition", "Yposition", "Zposition", *channels)
            columns.append(rng.normal(0.0, 5.0, (frames, 3)) + (20.0, 95.0, -40.0))
        angles = rng.uniform(-bend_deg, bend_deg, (frames, 3))
        columns.append(np.zeros((frames, 3)) if name in STIFF else angles)
        ends = name in names and name not in [parent for _, parent, _ in RIGS[rig]]
        site = np.array([0.0, -4.0, 12.0]) if name.endswith("Foot") else np.array(offset) * 0.3
        joints.append(
            BvhJoint(name, names.index(parent) if parent else -1, np.array(offset), channels, site if ends else None)
        )
    return BvhFile(f"{rig}.bvh", tuple(joints), 1.0 / 60.0, np.concatenate(columns, axis=1))


def walking_file(frames: int = 60, head_deg: float = 0.0) -> BvhFile:
    """A person of the Mixamo-like rig who walks along +z at 1.1 m/s with hanging arms, in centimetres.

    Args:
        head_deg: how far down the head looks all the time.
    """
    file = rig_file("mixamo", frames=frames, bend_deg=0.0)
    values, column = file.frames.copy(), 0
    phase = 2 * np.pi * np.arange(frames) / 60.0 * 1.8
    for joint in file.joints:
        part = joint.name.split(":")[1].removeprefix("Left").removeprefix("Right")
        beat = np.sin(phase) * (1.0 if "Left" in joint.name else -1.0)
        # Channels are Zrotation Yrotation Xrotation.
        if part == "Hips":
            values[:, column : column + 3] = 0.0
            values[:, column + 1] = 99.0 + np.abs(np.sin(phase)) * 1.5
            values[:, column + 2] = np.arange(frames) / 60.0 * 110.0
            column += 3
        turns = values[:, column : column + 3]
        if part == "UpLeg":
            turns[:, 2] = -25.0 * beat
        elif part == "Leg":
            turns[:, 2] = 12.0 - 10.0 * beat
        elif part == "Arm":
            turns[:, 0] = -75.0 if "Left" in joint.name else 75.0
        elif part == "Head":
            turns[:, 2] = head_deg
        column += 3
    return replace(file, frames=values)


def reference_kinematics(file: BvhFile) -> dict[str, np.ndarray]:
    """World positions (T, 3) of each joint by 4x4 matrices and scipy's Euler angles, one frame at a time."""
    out = {joint.name: np.zeros((len(file.frames), 3)) for joint in file.joints}
    for frame, values in enumerate(file.frames):
        column, world = 0, []
        for joint in file.joints:
            local = np.eye(4)
            local[:3, 3] = joint.offset
            letters, angles = "", []
            for channel in joint.channels:
                if channel.endswith("position"):
                    local["XYZ".index(channel[0]), 3] = values[column]
                else:
                    letters, angles = letters + channel[0], [*angles, values[column]]
                column += 1
            if letters:
                local[:3, :3] = Rotation.from_euler(letters, angles, degrees=True).as_matrix()
            world.append(local if joint.parent < 0 else world[joint.parent] @ local)
            out[joint.name][frame] = world[-1][:3, 3]
    return out
