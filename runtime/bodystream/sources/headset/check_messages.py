"""What the flags of the checks mean for a person."""

__all__ = ["MESSAGES"]

MESSAGES = {
    "not_normalised": "quaternions are not normalised; they are here. Values far from length 1 are often Euler angles "
    "or matrix columns: check what the source writes",
    "invalid_pose": "positions or rotations are not numbers, further than 100 m from the origin or zero; the device "
    "counts as not tracked then. Check the source, or the units (--units cm)",
    "wxyz_suspected": "the head is upside down as x, y, z, w and upright as w, x, y, z: the quaternions' order is "
    "wxyz. Use --quaternion-order wxyz",
    "units_suspected": "the head's height and the hands' distance look like {units}. Use --units {units}",
    "left_handed_axes": "raised hands are behind the head, or the person walks backwards all the time: the axes look "
    "left-handed (Unity: z ahead). Use {mirrored}",
    "axes_turned": "the hands are behind the head and on each other's side: the head looks along +z instead of -z. "
    "Use --axes {turned}",
    "axes_suspected": "by where head and hands are, the axes have {up}: they look like {named}. Use {options}{doubt}",
    "axes_unknown": "by where head and hands are, the axes have {up}, and which way is ahead cannot be told. Use "
    "--axes with where x, y and z point: FLU (ROS), RFU (Vicon, Blender), FRU (Unreal), RDF (cameras)",
    "hands_swapped": "the left hand is on the right side and the right hand on the left most of the time: left and "
    "right are exchanged. Use --swap-hands",
    "time_backwards": "samples whose time is not after the one before were dropped: the clock was set back, or samples "
    "come out of order or twice",
    "time_jump": "the time jumped by more than half a second: the stream was interrupted, the headset slept, or its "
    "times are not in the unit they should be",
    "head_height": "the head is below 0.3 m or above 2.6 m for long: the floor is not at y = 0 (set up the room, or "
    "use a floor-level reference space), or the units are wrong (--units cm)",
    "head_teleport": "the head jumped further than anybody moves: the view was recentred, or tracking was lost",
    "left_emulated": "the left hand is left out while the headset only guesses where it is (emulated, not tracked): "
    "hold it where the headset sees it, or switch its controller on",
    "right_emulated": "the right hand is left out while the headset only guesses where it is (emulated, not tracked): "
    "hold it where the headset sees it, or switch its controller on",
    "head_tilted": "the head's up axis is far from y all the time: z may be the vertical axis of the source (use "
    "--axes RFU --device-axes RUB, or turn its poses by -90 degrees about x), unless the person lies down",
}
"""Of each flag, what it means for a person: likely cause and remedy."""
