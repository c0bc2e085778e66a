"""From a headset's sample to a posed body with normals, and the skinning alone beside plain numpy."""

from __future__ import annotations

import gc
import time

import numpy as np

from bodystream.avatar import LbsAvatar
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import forward_kinematics
from bodystream.geometry.tracker_noise import TrackerNoise
from bodystream.pipelines.drive.pipeline import DriveConfig, Driver, DriveResult
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.types import Array, Status
from bodystream_bench.measuring import Context, Timing, expect, measure
from bodystream_bench.motions import smooth_motion

__all__ = ["run"]

_STEPS = 450
_WARM_UP = 60
_MET_LIMIT_MM = 5.0
_SKIN_LIMIT_MM = 0.1
_NUMPY_STEPS = 30
_PACE_HZ = 90.0


def run(context: Context) -> None:
    """`drive.p50_ms|p99_ms`, one sample right after the other, `drive.paced.*`, as a headset sends them,
    `drive.error_mm` of head and hands, `drive.skinning.*`, `.speedup_vs_numpy`."""
    steps = context.steps(_STEPS)
    clip = smooth_motion(steps + _WARM_UP)
    if any(context.wants(f"drive.{figure}") for figure in ("p50_ms", "p99_ms", "error_mm")):
        timing, error_mm = _drive(context, clip, steps)
        context.add_timing("drive", timing)
        context.add("drive.error_mm", error_mm, "mm", "lower", 0.5)
    if context.wants("drive.paced"):
        context.add_timing("drive.paced", _drive(context, clip, steps, _PACE_HZ)[0])
    if context.wants("drive.skinning"):
        _skinning(context, clip)


def _drive(context: Context, clip: MotionClip, steps: int, pace_hz: float | None = None) -> tuple[Timing, float]:
    """Times, and the mean error of head and hands [mm].

    Args:
        pace_hz: of the samples; None: each follows right after the one before, so that everything is still in the
            processor's caches.
    """
    driver = Driver(context.device, DriveConfig(skeleton=clip.skeleton))
    try:
        driver.warm_up()
        samples = iter(list(MotionHeadset(clip, clip.rate_hz, noise=TrackerNoise(), hands="grip")))
        errors: list[float] = []
        last: list[DriveResult] = []

        def step() -> None:
            result = driver.step(next(samples))
            assert result is not None  # a synthetic motion has no time that runs backwards
            last[:] = [result]

        due_s = time.perf_counter()

        def settle() -> None:
            """Errors of the last result, and the wait for the next sample, outside the measured time."""
            nonlocal due_s
            if last:
                expect(last[0].pose.status is not Status.LOST, f"drive: a pose was lost: {last[0].pose.reason}")
                errors.extend((last[0].head_error_m, *last[0].hand_errors_m))
            if pace_hz is not None:
                now_s = time.perf_counter()
                due_s = max(due_s + 1.0 / pace_hz, now_s)
                time.sleep(due_s - now_s)

        # As a session does: what was made at start-up is not looked through again.
        gc.collect()
        gc.freeze()
        try:
            timing = measure(step, steps, before=settle, warm_up=_WARM_UP, device=context.device)
        finally:
            gc.unfreeze()
        settle()
        error_mm = float(np.mean(errors)) * 1e3
        expect(
            error_mm < _MET_LIMIT_MM,
            f"drive: head and hands are off by {error_mm:.2f} mm, wanted below {_MET_LIMIT_MM:.0f} mm",
        )
        pose = last[0].pose
        assert isinstance(driver.avatar, LbsAvatar)  # the shipped one
        _check_surface(driver.avatar, pose.rotations_xyzw, pose.root_position_m, "drive")
        engine = driver.engine
        parts = ", ".join(f"{name} {span.p50_ms:.2f}" for name, span in driver.spans.summary().items())
        context.note(f"drive: {engine.provider}, {driver.avatar.vertices.size} vertices; medians [ms]: {parts}")
    finally:
        driver.close()
    return timing, error_mm


def _skinning(context: Context, clip: MotionClip) -> None:
    avatar = LbsAvatar(clip.skeleton, context.device)
    poses = [(clip.rotations_xyzw[k], clip.root_positions_m[k]) for k in range(len(clip))]
    _check_surface(avatar, *poses[0], "drive.skinning")
    at = 0

    def step() -> None:
        nonlocal at
        avatar.pose_on_device(*poses[at % len(poses)])
        at += 1

    ours = measure(step, context.steps(), device=context.device)
    context.add_timing("drive.skinning", ours)
    if not context.wants("drive.skinning.speedup_vs_numpy"):
        return
    rotations, root = poses[0]

    def theirs() -> None:
        _reference(avatar, rotations, root)

    # Ours with normals, theirs without.
    numpy_ms = measure(theirs, min(context.steps(), _NUMPY_STEPS), warm_up=2).p50_ms
    context.note(f"drive: numpy skins a body without normals in {numpy_ms:.1f} ms, ours with in {ours.p50_ms:.2f} ms")
    context.add("drive.skinning.speedup_vs_numpy", numpy_ms / ours.p50_ms, "x", "higher", 0.4)


def _reference(avatar: LbsAvatar, rotations_xyzw: Array, root_position_m: Array) -> Array:
    """(V, 3) by numpy in float64 [m]."""
    rotations = matrix_from_quaternion(rotations_xyzw.astype(np.float64))
    joints, world = forward_kinematics(avatar.skeleton.offsets_m, rotations, root_position_m.astype(np.float64))
    skin = avatar.skin
    linear = world @ skin.bone_from_bind[:, :3, :3]
    shift = joints + np.einsum("jab,jb->ja", world, skin.bone_from_bind[:, :3, 3])
    moved = np.einsum("vkab,vb->vka", linear[skin.bones], skin.mesh.vertices.astype(np.float64))
    return np.einsum("vk,vka->va", skin.weights.astype(np.float64), moved + shift[skin.bones])


def _check_surface(avatar: LbsAvatar, rotations_xyzw: Array, root_position_m: Array, key: str) -> None:
    mesh = avatar.pose(rotations_xyzw, root_position_m)
    assert mesh.normals is not None
    off_mm = float(np.abs(mesh.vertices - _reference(avatar, rotations_xyzw, root_position_m)).max()) * 1e3
    expect(off_mm < _SKIN_LIMIT_MM, f"{key}: our vertices are up to {off_mm:.3f} mm from those of numpy")
    lengths = np.linalg.norm(mesh.normals, axis=1)
    expect(bool(np.abs(lengths - 1.0).max() < 1e-3), f"{key}: normals have lengths from {lengths.min():.3f}")
