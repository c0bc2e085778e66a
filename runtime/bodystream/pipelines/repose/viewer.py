"""An avatar that is posed by a motion, on a page in the browser, at the motion's own pace and over and over."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from bodystream.avatar.base import FAR_FLAG
from bodystream.pipelines.repose.pipeline import Reposer
from bodystream.sinks.viewer import BodyViewer, BodyViewerState
from bodystream.timing import Spans, now_ns
from bodystream.types import BodyPose, Mesh

__all__ = ["Playback"]

_LONGEST_WAIT_S = 0.25


class Playback:
    """Plays a motion in a loop; a pose whose time has passed is left out, and none is made that nobody sees.

    Args:
        reposer: of avatar and motion.
        speed: how many times as fast as the motion.

    Attributes:
        shown: poses that were given to the page.
    """

    def __init__(self, reposer: Reposer, speed: float = 1.0) -> None:
        self._reposer, self._speed = reposer, speed
        self._spans = Spans()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._ended = False
        self._from_ns, self._at_s = now_ns(), 0.0  # where in the motion it was at which time
        self._running = True
        self.shown = 0

    def open(self, port: int) -> BodyViewer:
        """The page; its buttons pause, resume and begin anew."""
        return BodyViewer(
            self._reposer.avatar.skin, port, on_start=self.resume, on_stop=self.pause, on_reset=self.begin_anew
        )

    def pause(self) -> None:
        self._move(self._position_s(), running=False)

    def resume(self) -> None:
        self._move(self._position_s(), running=True)

    def begin_anew(self) -> None:
        """From the first pose on."""
        self._move(0.0, running=self._running)

    def stop(self) -> None:
        """End `play`; from any thread, and within a signal handler."""
        self._ended = True
        self._changed.set()

    def _move(self, at_s: float, running: bool) -> None:
        with self._lock:
            self._from_ns, self._at_s, self._running = now_ns(), at_s, running
        self._changed.set()

    def _position_s(self) -> float:
        with self._lock:
            going = (now_ns() - self._from_ns) * 1e-9 * self._speed if self._running else 0.0
            return self._at_s + going

    def play(self, viewer: BodyViewer, on_shown: Callable[[int], None] | None = None) -> None:
        """Show poses until `stop`.

        Args:
            on_shown: called after each pose with how many were shown.
        """
        rate_hz, last = self._reposer.clip.rate_hz, -1
        while not self._ended:
            self._changed.clear()
            position_s = self._position_s()
            step = int(position_s * rate_hz)
            if step != last and viewer.wants_state:
                last = step
                self._show(viewer, step)
                if on_shown is not None:
                    on_shown(self.shown)
            until_s = (step + 1) / rate_hz - self._position_s()
            wait_s = until_s / self._speed if self._running else _LONGEST_WAIT_S
            self._changed.wait(min(max(wait_s, 0.001), _LONGEST_WAIT_S))

    def _show(self, viewer: BodyViewer, step: int) -> None:
        reposer = self._reposer
        row = step % len(reposer.frames)
        frame, avatar = reposer.frames[row], reposer.avatar
        with self._spans.measure("avatar"):
            reposer.pose(frame)
        mesh = None
        if avatar.skin is None:
            with self._spans.measure("fetch"):
                reposer.fetch()
                mesh = Mesh(reposer.vertices.copy(), avatar.faces, reposer.normals.copy(), avatar.colours)
        body = reposer.body
        flags = () if avatar.posing.far is None else (FAR_FLAG,)
        pose = BodyPose(now_ns(), body.rotations_xyzw[row], body.root_positions_m[row], flags=flags)
        joints_m = body.joints([row])[0][0].astype(np.float32)
        viewer.publish(
            BodyViewerState(
                t_ns=pose.t_ns,
                pose=pose,
                joints_m=joints_m,
                mesh=mesh,
                hud=self._spans.summary(),
                rate_hz=reposer.clip.rate_hz * self._speed,
                warnings=reposer.warnings,
            )
        )
        self.shown += 1
