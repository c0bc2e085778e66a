"""What another machine publishes, written to shared memory here, for the programs of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from bodystream.errors import ConfigurationError, InputError, NotReadyError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import HEAD, JOINTS, local_rotations
from bodystream.pipelines.send.pace import Pace
from bodystream.sinks.network import NetworkReceiver, ReceivedMotion
from bodystream.sinks.shm import MOST_VERTICES, PoseFlag, ShmWriter, posed_record, upright
from bodystream.sinks.shm.layout import Offer
from bodystream.sources.grammar import SourceKind, choose
from bodystream.timing import now_ns
from bodystream.types import Array

__all__ = ["Relay", "open_relay"]

_WAIT_S = 0.25
_KINDS: tuple[SourceKind[None, NetworkReceiver], ...] = (
    SourceKind(
        "zenoh",
        "Eclipse Zenoh",
        "bodystream.sinks.network.session:NetworkConfig",
        lambda name, config, _: NetworkReceiver(name, config),
        target="NAME",
    ),
)


def open_relay(receive: str, name: str, surface_hz: float, max_vertices: int, on_note: Callable[[str], None]) -> Relay:
    """A relay from the network to shared memory.

    Args:
        receive: `NAME` or `zenoh:NAME`, with keys of `NetworkConfig` behind a question mark.
        name: in shared memory.

    Raises:
        ConfigurationError: a name or key that cannot be used, or a name that is in use here.
        MissingDependencyError: eclipse-zenoh is not installed.
    """
    if not 0.0 <= surface_hz <= 1000.0:
        raise ConfigurationError(f"surface_hz must be 0 (poses only) to 1000, got {surface_hz:g}")
    if not 1 <= max_vertices <= MOST_VERTICES:
        raise ConfigurationError(f"max_vertices must be 1 to {MOST_VERTICES}, got {max_vertices}")
    spec = receive if receive.startswith("zenoh:") else f"zenoh:{receive}"
    offers = Offer.POSES | (Offer.SURFACES if surface_hz > 0 else 0)
    writer = ShmWriter(name, Offer(offers), max_vertices, 2 * max_vertices)
    try:
        receiver = choose(spec, _KINDS, "sender").open(None)
    except BaseException:
        writer.close()
        raise
    return Relay(receiver, writer, surface_hz, on_note)


class Relay:
    """Writes each pose that comes, and surfaces at a rate, until it is stopped.

    Args:
        receiver: of a name on the network; closed with it.
        writer: of a name on this machine; closed with it.
        surface_hz: surfaces a second at most; 0 = none.
        on_note: is told lines for a person: who publishes comes and goes.

    Attributes:
        warnings: what was wrong with what came, each once.
    """

    def __init__(
        self,
        receiver: NetworkReceiver,
        writer: ShmWriter,
        surface_hz: float,
        on_note: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.warnings: list[str] = []
        self._receiver, self._writer, self._note = receiver, writer, on_note
        self._pace = Pace(surface_hz or None, "surface_hz")
        self._with_surfaces = surface_hz > 0
        self._stop = threading.Event()
        self._was_alive = False
        self._surfaces_of: dict[str, ReceivedMotion | None] = {"body": None, "surface": None}

    @property
    def told(self) -> str:
        """What was written, for a person."""
        return f"wrote {self._writer.poses} poses and {self._writer.surfaces} surfaces of {self._receiver.name}"

    def stop(self) -> None:
        """May be called from any thread."""
        self._stop.set()

    def run(self, poses: int | None = None) -> None:
        """Relay until `stop`, or until so many poses were written."""
        receiver, last, measured = self._receiver, None, False
        surfaces = threading.Thread(target=self._relay_surfaces, name="relay-surfaces", daemon=True)
        if self._with_surfaces:
            surfaces.start()
        try:
            while not self._stop.is_set() and (poses is None or self._writer.poses < poses):
                self._tell_of_publisher()
                newest = receiver.wait("body", last, _WAIT_S)
                # A pose may come before the skeleton that it is of, and is written again with the stature then.
                known = receiver.rest_positions_m() is not None
                if newest is None or (newest is last and known == measured):
                    continue
                last, measured = newest, known
                self._guard(lambda motion=newest: self._writer.write_pose(self._record(motion)))
        finally:
            self._stop.set()
            if surfaces.is_alive():
                surfaces.join(5.0)
            receiver.close()
            self._writer.close()

    def _tell_of_publisher(self) -> None:
        alive = self._receiver.alive
        if alive != self._was_alive:
            self._was_alive = alive
            self._note(f"{self._receiver.name} {'is published' if alive else 'is not published any more; waiting'}")
        if self._receiver.trouble:
            self._warn(self._receiver.trouble)

    def _relay_surfaces(self) -> None:
        """Of a capture where there is one, else of the body."""
        while not self._stop.wait(0.002):
            of = "body" if self._receiver.surface() is None else "surface"
            newest = self._receiver.surface() or self._receiver.body()
            if newest is None or newest is self._surfaces_of[of] or not self._pace.is_due(now_ns()):
                continue
            try:
                self._guard(lambda of=of, newest=newest: self._write_surface(of, newest))
            except NotReadyError:
                continue  # what the motion moves is on its way
            self._surfaces_of[of] = newest

    def _write_surface(self, of: str, newest: ReceivedMotion) -> None:
        mesh, in_camera = self._receiver.mesh(of), of == "surface"
        skin = self._receiver.skin(of)
        if skin is None:  # its publisher went away since
            return
        t_ns = newest.arrived_ns - 1000 * newest.motion.latency_us
        if in_camera:  # the header has y up
            mesh = upright(mesh)
        if not self._writer.write_surface(mesh, t_ns, newest.motion.status, skin.version, in_camera=in_camera):
            self._warn(f"surfaces larger than {self._writer.places.vertices} vertices are left out: --max-vertices")

    def _record(self, newest: ReceivedMotion) -> Array:
        motion = newest.motion
        count = len(JOINTS)  # fingers and nodes of clothes come behind them
        if len(motion.positions_m) < count:
            raise InputError(f"a body of {len(motion.positions_m)} joints came, {count} are wanted")
        turns = matrix_from_quaternion(motion.rotations_xyzw[:count].astype(np.float64))
        flags = PoseFlag(0)
        measured = {"head": PoseFlag.HEAD_MEASURED, "left": PoseFlag.LEFT_MEASURED, "right": PoseFlag.RIGHT_MEASURED}
        for device in motion.devices:
            flags |= measured[device.side]
        if motion.contacts is not None:
            left, right = motion.contacts
            flags |= PoseFlag.CONTACTS_KNOWN
            flags |= (PoseFlag.LEFT_STANDS if left else 0) | (PoseFlag.RIGHT_STANDS if right else 0)
        rest_m = self._receiver.rest_positions_m()
        return posed_record(
            t_ns=newest.arrived_ns - 1000 * motion.latency_us,
            positions_m=motion.positions_m[:count],
            rotations_xyzw=motion.rotations_xyzw[:count],
            local_xyzw=quaternion_from_matrix(local_rotations(turns)),
            status=motion.status,
            flags=flags,
            stature_m=0.0 if rest_m is None else float(rest_m[HEAD, 1] - rest_m[:, 1].min()),
        )

    def _guard(self, write: Callable[[], object]) -> None:
        try:
            write()
        except InputError as error:
            self._warn(str(error))

    def _warn(self, text: str) -> None:
        if text not in self.warnings and len(self.warnings) < 20:
            self.warnings.append(text)
            self._note(f"warning: {text}")
