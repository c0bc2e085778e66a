"""One pose by VMC: from the pose to the datagrams on the network."""

from __future__ import annotations

import socket

from bodystream.geometry.mounting import device_at_joint
from bodystream.geometry.skeleton import HEAD, LEFT_HAND, RIGHT_HAND
from bodystream.sinks.send import MAX_BUNDLE_BYTES, DrivenPose, PosedBones, VmcSender
from bodystream.types import BodyPose, DeviceKind, HeadsetSample
from bodystream_bench.measuring import Context, expect, measure
from bodystream_bench.motions import smooth_motion

__all__ = ["run"]

_STEPS = 450


def run(context: Context) -> None:
    """`vmc.send.p50_ms|p99_ms`: a pose of 22 bones and three devices to a receiver on this machine."""
    steps = context.steps(_STEPS)
    clip = smooth_motion(steps)
    joints, turns = clip.joints()
    posed = []
    for k in range(len(clip)):
        head = device_at_joint(joints[k, HEAD], turns[k, HEAD], DeviceKind.VIEW, "head")
        left = device_at_joint(joints[k, LEFT_HAND], turns[k, LEFT_HAND], DeviceKind.GRIP, "left")
        right = device_at_joint(joints[k, RIGHT_HAND], turns[k, RIGHT_HAND], DeviceKind.GRIP, "right")
        pose = BodyPose(round(k * 1e9 / clip.rate_hz), clip.rotations_xyzw[k], clip.root_positions_m[k])
        posed.append((pose, HeadsetSample(k, pose.t_ns, head, left, right)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        sender = VmcSender("127.0.0.1", receiver.getsockname()[1])
        at, sizes = 0, []

        def step() -> None:
            nonlocal at
            pose, sample = posed[at % len(posed)]
            person = PosedBones(pose, clip.skeleton)
            expect(sender.send(DrivenPose(person, sample, person)), "vmc: a pose was not sent")
            at += 1

        def read() -> None:
            """What came, so that the receiver's buffer never fills; outside the measured time."""
            for _ in range(3):
                try:
                    sizes.append(len(receiver.recv(65536)))
                except BlockingIOError:
                    return

        timing = measure(step, steps, before=read)
        read()
        sender.close()
    expect(len(sizes) == 2 * at, f"vmc: {at} poses came in {len(sizes)} datagrams, wanted two each")
    expect(max(sizes) <= MAX_BUNDLE_BYTES, f"vmc: a bundle has {max(sizes)} bytes")
    context.add_timing("vmc.send", timing)
