"""Poses to other programs while they are driven: VMC, VRChat's OSC trackers, BD-24 over ZeroMQ; docs/send.md."""

from bodystream.sinks.send.base import DrivenPose, PosedBones, PoseSender
from bodystream.sinks.send.bd24 import BD24_BYTES, BD24_JOINT, BD24_VERSION, bd24_message
from bodystream.sinks.send.udp import MAX_BUNDLE_BYTES, host_and_port
from bodystream.sinks.send.vmc import VmcSender
from bodystream.sinks.send.vrchat import VRCHAT_TRACKERS, VrchatSender
from bodystream.sinks.send.zeromq import ZmqSender

__all__ = [
    "BD24_BYTES",
    "BD24_JOINT",
    "BD24_VERSION",
    "MAX_BUNDLE_BYTES",
    "VRCHAT_TRACKERS",
    "DrivenPose",
    "PoseSender",
    "PosedBones",
    "VmcSender",
    "VrchatSender",
    "ZmqSender",
    "bd24_message",
    "host_and_port",
]
