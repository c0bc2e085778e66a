"""`bodystream bodies`: what is published on this machine and on the network."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction

from bodystream.cli.options import optional
from bodystream.errors import ConfigurationError, InputError, MissingDependencyError

__all__ = ["Bodies"]


@dataclass(frozen=True, slots=True)
class _Row:
    """One name."""

    name: str
    where: str
    offers: str


@dataclass(frozen=True, kw_only=True)
class Bodies:
    """List the names that bodies and surfaces are published under.

    Those in shared memory of this machine come from `bodystream publish` and --send shm:NAME; those on the network, for
    which the extra zenoh is needed, come from --send zenoh:NAME. What `bodystream publish --name NAME --receive NAME`
    does is to bring one of the network into shared memory.
    """

    wait_s: float = 1.0
    """How long to look on the network [s]; 0 = on this machine only."""

    connect: Annotated[UseAppendAction[tuple[str, ...]], optional("ENDPOINT")] = ()
    """An endpoint of a Zenoh router or program to ask, as tcp/192.168.1.20:7447, where multicast does not reach."""

    interface: Annotated[str | None, optional("NAME")] = None
    """Of the network to look on, as eth0; default: Zenoh's choice."""

    config: Annotated[Path | None, optional("FILE")] = None
    """A configuration file of Zenoh (JSON5)."""

    json: bool = False
    """Print as JSON."""

    def run(self) -> int:
        if not 0.0 <= self.wait_s <= 60.0:
            raise ConfigurationError(f"--wait-s must be 0 to 60 seconds, got {self.wait_s:g}")
        rows = [*_of_this_machine(), *self._of_the_network()]
        if self.json:
            print(json.dumps([asdict(row) for row in rows], indent=2))
        elif not rows:
            print("nothing is published")
        else:
            widths = [max(len(getattr(row, field)) for row in rows) for field in ("name", "where")]
            for row in rows:
                print(f"{row.name.ljust(widths[0])}  {row.where.ljust(widths[1])}  {row.offers}")
        return 0

    def _of_the_network(self) -> list[_Row]:
        if self.wait_s == 0:
            return []
        from bodystream.sinks.network import NetworkConfig, list_bodies, open_network

        try:
            session = open_network(NetworkConfig(self.connect, (), self.interface or "", True, self.config))
        except MissingDependencyError as error:
            print(f"note: the network is not looked at: {error}", file=sys.stderr)
            return []
        try:
            found = list_bodies(session, self.wait_s)
        finally:
            session.close()
        return [
            _Row(body.name, f"zenoh, from {body.host or 'a machine'}", _offers(body.bodies, body.surfaces))
            for body in found
        ]


def _of_this_machine() -> list[_Row]:
    from bodystream.sinks.shm import ShmReader, published_names
    from bodystream.sinks.shm.layout import Offer

    rows = []
    for name in published_names():
        try:
            with ShmReader(name) as reader:
                offers = _offers(Offer.POSES in reader.offers, Offer.SURFACES in reader.offers)
                rows.append(_Row(name, f"shm, process {reader.pid}", offers))
        except InputError as error:
            rows.append(_Row(name, "shm", str(error)))
    return rows


def _offers(poses: bool, surfaces: bool) -> str:
    return " and ".join([*(["poses"] if poses else []), *(["surfaces"] if surfaces else [])]) or "nothing"
