"""Standing poses of rigs whose own zero pose is no person.

A BVH file's zero pose is usually a T-pose. Some exporters keep the bones' own axes instead (x along the bone), and all
rotations zero give a crumpled figure. Then a pose is needed in which the body is known to stand: ACCAD's two male
rigs have theirs here, each bone's mean orientation over the frames of that person's takes in which he stands still,
upright, with hanging arms (about 2000 and 3600 frames of 28 and 25 takes; the takes agree to 2-7 degrees per bone).
"""

from __future__ import annotations

__all__ = ["STANDING_XYZW"]

STANDING_XYZW: tuple[dict[str, tuple[float, float, float, float]], ...] = (
    {
        "hips": (0.4252, 0.5536, -0.4239, -0.5771),
        "tospine": (-0.0316, 0.0033, -0.0100, 0.9994),
        "spine": (0.3965, 0.4350, 0.5167, 0.6217),
        "spine1": (0.4880, 0.5340, 0.4797, 0.4966),
        "neck": (-0.4318, -0.6919, 0.2927, 0.4991),
        "head": (-0.1238, -0.0205, -0.6885, -0.7143),
        "leftshoulder": (-0.6096, -0.3483, -0.3449, -0.6230),
        "leftarm": (-0.1172, -0.0350, -0.6526, 0.7477),
        "leftforearm": (0.2204, -0.3004, -0.6295, 0.6818),
        "lefthand": (-0.1948, 0.3205, 0.5952, -0.7106),
        "rightshoulder": (-0.2808, -0.6663, -0.6274, -0.2892),
        "rightarm": (-0.6627, 0.7463, 0.0497, -0.0368),
        "rightforearm": (-0.6813, 0.7054, 0.0588, -0.1864),
        "righthand": (-0.5985, 0.7818, 0.0680, -0.1609),
        "leftupleg": (0.1180, -0.0694, 0.0241, -0.9903),
        "leftleg": (-0.0300, 0.0059, 0.0158, -0.9994),
        "leftfoot": (-0.0627, 0.0131, -0.0366, -0.9973),
        "lefttoebase": (-0.0684, 0.0434, -0.0174, 0.9966),
        "rightupleg": (-0.1128, -0.0550, 0.0399, 0.9913),
        "rightleg": (-0.0472, 0.0486, -0.0486, -0.9965),
        "rightfoot": (-0.0189, 0.0376, 0.0036, -0.9991),
        "righttoebase": (-0.0488, 0.0757, 0.0088, -0.9959),
    },
    {
        "hips": (0.3977, 0.5737, -0.4099, -0.5871),
        "tospine": (-0.0047, -0.0029, -0.0015, -1.0000),
        "spine": (0.3825, 0.4424, 0.5327, 0.6117),
        "spine1": (0.4981, 0.5211, 0.4809, 0.4990),
        "neck": (-0.4868, -0.6472, 0.3159, 0.4944),
        "head": (-0.0460, -0.1031, -0.6765, -0.7277),
        "leftshoulder": (0.5705, 0.2601, 0.3910, 0.6738),
        "leftarm": (-0.2428, 0.0777, 0.5953, -0.7620),
        "leftforearm": (-0.2238, 0.3641, 0.5851, -0.6892),
        "lefthand": (-0.2243, 0.3627, 0.5819, -0.6924),
        "rightshoulder": (0.3011, 0.6979, 0.6097, 0.2249),
        "rightarm": (-0.6098, 0.7576, 0.1952, -0.1269),
        "rightforearm": (-0.6113, 0.6835, 0.1617, -0.3648),
        "righthand": (-0.6079, 0.6864, 0.1594, -0.3660),
        "leftupleg": (-0.1400, 0.0915, 0.0018, 0.9859),
        "leftleg": (-0.0420, -0.0077, 0.0286, -0.9987),
        "leftfoot": (-0.0238, -0.0013, 0.0029, 0.9997),
        "lefttoebase": (0.0295, -0.0141, -0.0019, -0.9995),
        "rightupleg": (0.1347, 0.0628, -0.0093, -0.9888),
        "rightleg": (-0.0087, 0.0031, -0.0320, -0.9994),
        "rightfoot": (-0.0234, 0.0086, -0.0362, 0.9990),
        "righttoebase": (-0.0547, -0.0033, -0.0294, 0.9981),
    },
)
"""World orientations [xyzw] of joints (normalised names), y up, facing +z, the left at +x."""
