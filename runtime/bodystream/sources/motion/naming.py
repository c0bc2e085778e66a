"""What the names of a rig's joints say: side and part of the body, whatever the program adds to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

__all__ = ["LIMB_PARTS", "named_joints", "normalised_name", "normalised_names", "side_of"]

_PREFIX = re.compile(
    r"^(?:.*[:|]|mixamorig\d*[_ ]?|(?:valvebiped[._])?bip\d+[_ ]?|[fm]_avg_|def[-_]|j_bip_(?:c_)?)", re.I
)
_COMMON_SHARE = 0.8
"""What so large a part of the names begins or ends with belongs to the rig, not to the joint."""
_PARTS: dict[str, tuple[str, ...]] = {
    # The order matters where a rig has two of the words: `Leg` is a shin beside `UpLeg` and a thigh beside `Shin`,
    # and `Shoulder` is an upper arm only where nothing else is.
    "hip": ("upleg", "thigh", "upperleg", "femur", "hip", "thighbend", "upperleg01", "uleg", "legupper", "足", "leg"),
    "knee": (
        "lowleg",
        "lowerleg",
        "shin",
        "knee",
        "tibia",
        "calf",
        "lowerleg01",
        "leglower",
        "shinbend",
        "ひざ",
        "leg",
    ),
    "ankle": ("ankle", "foot", "足首"),
    "foot": (
        "toebase",
        "toe",
        "toes",
        "toe0",
        "ball",
        "toe1",
        "toe01",
        "toe11",
        "toeroot",
        "forefoot",
        "つま先",
        "foot",
    ),
    "shoulder": (
        *("arm", "shldr", "upperarm", "humerus", "uparm", "shldrbend", "uarm", "upperarm01", "armupper", "bicep"),
        *("腕", "shoulder"),
    ),
    "elbow": (
        *("forearm", "elbow", "lowerarm", "radius", "lowarm", "forearmbend", "farm", "lowerarm01", "armlower", "lfarm"),
        "ひじ",
    ),
    "wrist": ("wrist", "hand", "手首", "palm"),
    "hand": ("fingerbase",),
    "thumb": ("thumb", "thumb1", "handthumb1", "thumbproximal", "thumb01"),
}
LIMB_PARTS = {"leg": ("hip", "knee", "ankle"), "arm": ("shoulder", "elbow", "wrist")}
_HEADS = ("head", "頭", "headbase", "skull")
_WORDS = {"left": "left", "l": "left", "lft": "left", "左": "left", "right": "right", "r": "right", "rgt": "right",
          "rt": "right", "lt": "left", "右": "right"}  # fmt: skip
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[左右])")


def normalised_name(name: str) -> str:
    """A joint's name without prefix, case, spaces and punctuation."""
    return re.sub(r"[\W_]", "", _PREFIX.sub("", name).lower())


def normalised_names(names: Sequence[str]) -> list[str]:
    """The same for all joints of a rig, which also tell what is common to them: `CC_Base_`, `_JNT`."""
    return [normalised_name(name) for name in _bare(names)]


def side_of(name: str) -> str:
    """`left` or `right` by a word of a joint's name, else empty. Prefixes of the rig must be off it."""
    words = [word for word in re.split(r"[\W_]+", _CAMEL.sub(" ", _PREFIX.sub("", name))) if word]
    if not words:
        return ""
    for word in (words[0], words[-1]):
        if side := _WORDS.get(word.lower()):
            return side
    lower = name.lower()
    sides = [side for side in ("left", "right") if side in lower]
    if len(sides) == 1:
        return sides[0]
    # `LUArm` and `rHand` are a side's letter and a word.
    glued = re.match(r"([lr])[A-Z]|([LR])(?=[A-Z])", _PREFIX.sub("", name))
    return _WORDS[glued.group(0)[0].lower()] if glued else ""


def named_joints(names: Sequence[str]) -> dict[str, int]:
    """Ends of limbs and the head by name alone: of `left_hip`, `right_wrist`, `head`... the joint's index."""
    index_of: dict[str, int] = {}
    for index, name in enumerate(normalised_names(names)):
        index_of.setdefault(name, index)
    found: dict[str, int] = {}
    for side, sign in (("left", "左"), ("right", "右")):
        used: set[int] = set()
        for part, stems in _PARTS.items():
            variants = [
                v for stem in stems for v in (side + stem, side[0] + stem, stem + side[0], stem + side, sign + stem)
            ]
            index = next((index_of[v] for v in variants if v in index_of and index_of[v] not in used), None)
            if index is not None:
                found[f"{side}_{part}"] = index
                used.add(index)
    head = next((index_of[name] for name in _HEADS if name in index_of), None)
    if head is not None:
        found["head"] = head
    return found


def _bare(names: Sequence[str]) -> list[str]:
    """Names without the beginning and the end that most of them share, cut at a separator."""
    out = [name.strip() for name in names]
    for ahead in (True, False):
        pieces: Counter[str] = Counter()
        for name in out:
            ends = [m.end() if ahead else m.start() for m in re.finditer(r"[\W_]+", name)]
            pieces.update({name[:at] if ahead else name[at:] for at in ends if 0 < at < len(name)})
        common = [piece for piece, count in pieces.items() if count >= max(_COMMON_SHARE * len(out), 3)]
        if common:
            piece = max(common, key=len)
            strip = str.removeprefix if ahead else str.removesuffix
            out = [strip(name, piece) for name in out]
    return out
