"""Monado without hardware: its service, its manifest, and headsets that do as they are told."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["MonadoRuntime", "MonadoService", "RemoteHeadset", "free_port"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class MonadoRuntime:
    """A root made by make_runtime.sh, as run_tests.sh names it."""

    root: Path
    loader: str
    libraries: str

    @classmethod
    def found(cls) -> MonadoRuntime | None:
        root = os.environ.get("BODYSTREAM_OPENXR_ROOT")
        if not root:
            return None
        loader, libraries = os.environ["BODYSTREAM_OPENXR_LOADER"], os.environ["BODYSTREAM_OPENXR_LIBRARIES"]
        return cls(Path(root), loader, libraries)

    def command(self, program: str) -> list[str]:
        """What starts a program of the root from outside of it."""
        return [self.loader, "--argv0", program, "--library-path", self.libraries, str(Path(program).resolve())]

    def python(self) -> list[str]:
        """What starts this Python, with the libraries of the root."""
        return self.command(sys.executable)

    def library(self, name: str) -> Path:
        return next(path for path in sorted((self.root / "usr/lib").rglob(name)))

    def write_manifests(self, folder: Path) -> dict[str, str]:
        """Manifests whose paths work from outside of the root, and the variables that name them."""
        runtime, driver = folder / "openxr_runtime.json", folder / "vulkan_driver.json"
        write_json(
            runtime,
            {
                "file_format_version": "1.0.0",
                "runtime": {"name": "Monado", "library_path": str(self.library("libopenxr_monado.so"))},
            },
        )
        write_json(
            driver,
            {
                "file_format_version": "1.0.0",
                "ICD": {"library_path": str(self.library("libvulkan_lvp.so")), "api_version": "1.3.0"},
            },
        )
        return {
            "XR_RUNTIME_JSON": str(runtime),
            "VK_DRIVER_FILES": str(driver),
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }


class MonadoService:
    """A running `monado-service`.

    Args:
        folder: for its socket, its configuration and its log; short, since the path of a socket is.
        remote_port: of the headset that RemoteHeadset moves; None takes the simulated one, which moves by itself.
    """

    def __init__(self, runtime: MonadoRuntime, folder: Path, *, remote_port: int | None = None) -> None:
        self._runtime = runtime
        self._folder = folder
        environment = {**os.environ, **runtime.write_manifests(folder), "XRT_COMPOSITOR_NULL": "1"}
        (folder / "config" / "monado").mkdir(parents=True, exist_ok=True)
        configuration = folder / "config" / "monado" / "config_v0.json"
        if remote_port is None:
            environment |= {"SIMULATED_ENABLE": "1", "SIMULATED_LEFT": "simple", "SIMULATED_RIGHT": "simple"}
            write_json(configuration, {})
        else:
            write_json(
                configuration, {"active": "remote", "remote": {"version": 0, "port": remote_port, "view_count": 2}}
            )
        self._environment = environment
        self._log = (folder / "service.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, timeout_s: float = 30.0) -> None:
        endpoint = self._folder / "monado_comp_ipc"
        for name in ("monado_comp_ipc", "monado.pid"):
            (self._folder / name).unlink(missing_ok=True)
        # It ends with its standard input, so that is a pipe which we keep open.
        self._process = subprocess.Popen(
            self._runtime.command(str(self._runtime.root / "usr/bin/monado-service")),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env=self._environment,
        )
        deadline_s = time.monotonic() + timeout_s
        while not _accepts(endpoint):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.stop()
                raise RuntimeError(f"monado-service did not start: {self.log()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        self.stop()
        self._log.close()

    def log(self) -> str:
        return (self._folder / "service.log").read_text(errors="replace")


def _accepts(endpoint: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(endpoint))
        except OSError:
            return False
    return True


def _connect(port: int, timeout_s: float = 10.0) -> socket.socket:
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        except ConnectionRefusedError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)  # the service listens to programs a moment before it does to the remote control


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


class RemoteHeadset:
    """Moves the head and hands of Monado's remote driver.

    Source: `src/xrt/drivers/remote/r_interface.h` of Monado 25.0.0, `struct r_remote_data`: the magic, a head of 128
    bytes whose centre pose is at 96, and two controllers of 120 bytes: pose, velocities, curls and axes, then at 104
    whether the hand and whether the controller is tracked. A pose is a quaternion xyzw and a position.
    """

    _SIZE = 8 + 128 + 2 * 120
    _HEAD = 8 + 96
    _HANDS = {"left": 8 + 128, "right": 8 + 128 + 120}
    _ACTIVE = 104

    def __init__(self, port: int) -> None:
        self._socket = _connect(port)
        state = b""
        while len(state) < self._SIZE:  # it begins with how things stand
            received = self._socket.recv(self._SIZE - len(state))
            if not received:
                raise RuntimeError(f"the remote driver closed after {len(state)} of {self._SIZE} bytes")
            state += received
        self._state = bytearray(state)
        self._state[:8] = b"mndrmt3\0"

    def head(self, position_m: tuple[float, ...], rotation_xyzw: tuple[float, ...] = (0, 0, 0, 1)) -> None:
        struct.pack_into("<7f", self._state, self._HEAD, *rotation_xyzw, *position_m)

    def hand(
        self,
        side: str,
        position_m: tuple[float, ...],
        rotation_xyzw: tuple[float, ...] = (0, 0, 0, 1),
        *,
        tracked_hand: bool = False,
        controller: bool = False,
    ) -> None:
        offset = self._HANDS[side]
        struct.pack_into("<7f", self._state, offset, *rotation_xyzw, *position_m)
        struct.pack_into("<2?", self._state, offset + self._ACTIVE, tracked_hand, controller)

    def send(self) -> None:
        self._socket.sendall(self._state)

    def close(self) -> None:
        self._socket.close()
