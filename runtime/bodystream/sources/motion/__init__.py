"""Motion capture files (BVH, ASF/AMC, AMASS) as motions of the canonical skeleton."""

from bodystream.sources.motion.amass import read_amass
from bodystream.sources.motion.asf_amc import parse_amc, parse_asf, read_asf_amc
from bodystream.sources.motion.bvh import BvhFile, BvhJoint, parse_bvh, read_bvh
from bodystream.sources.motion.canonical import TakeFacts, canonical_clip
from bodystream.sources.motion.catalogue import UNIDENTIFIED
from bodystream.sources.motion.hinged import HingedTakes
from bodystream.sources.motion.takes import Take, choose_take, find_takes, load_takes, read_motion

__all__ = [
    "UNIDENTIFIED",
    "BvhFile",
    "BvhJoint",
    "HingedTakes",
    "Take",
    "TakeFacts",
    "canonical_clip",
    "choose_take",
    "find_takes",
    "load_takes",
    "parse_amc",
    "parse_asf",
    "parse_bvh",
    "read_amass",
    "read_asf_amc",
    "read_bvh",
    "read_motion",
]
