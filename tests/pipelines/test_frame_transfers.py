"""How often, and how much, a depth frame crosses between host and device. The bounds are only ever lowered."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import warp as wp

import bodystream
from bodystream.device import select_device, transfers
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.types import Status

FRAMES = 20
STEADY = 10  # from this frame on; before, buffers still grow

# Per frame of 640 x 480 pixels of the synthetic camera, on the CPU, where a read-back is counted although it costs
# nothing there. The first count was 26.3 read-backs and 19.6 uploads of 8.3 MB.
MOST_DOWNLOADS = 11.6
MOST_UPLOADS = 13.6
MOST_UPLOADED_MB = 3.0


@dataclass
class PastTheDoor:
    """What Warp was asked to transfer elsewhere than in `device.transfers`, and which launches were packed anew."""

    downloads: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    upload_bytes: int = 0
    launches: list[str] = field(default_factory=list)


def caller() -> str:
    """The nearest place outside of Warp and of this file."""
    frame = sys._getframe(1)
    inside = Path(wp.__file__).parent
    while frame.f_code.co_filename == __file__ or Path(frame.f_code.co_filename).is_relative_to(inside):
        assert frame.f_back is not None
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


@contextmanager
def watched_warp() -> Iterator[PastTheDoor]:
    """Note every method of a Warp array that moves values between host and device, unless `transfers` called it."""
    past, busy = PastTheDoor(), False

    def watch(patch: pytest.MonkeyPatch, name: str) -> None:
        original = getattr(wp.array, name)

        def method(self: wp.array, *args, **words):
            nonlocal busy
            place = "" if busy else caller()  # what Warp calls of its own is a part of the same transfer
            if place and not place.startswith("transfers.py:"):
                if name in ("numpy", "list"):
                    past.downloads.append(place)
                else:
                    values = args[0] if args else words.get("data")
                    if values is not None and not isinstance(values, wp.array):
                        past.uploads.append(place)
                        past.upload_bytes += np.asarray(values).nbytes
            outer, busy = busy, True
            try:
                return original(self, *args, **words)
            finally:
                busy = outer

        patch.setattr(wp.array, name, method)

    pack = wp.launch

    def launch(kernel: wp.Kernel, *args, **words):
        past.launches.append(kernel.key)
        return pack(kernel, *args, **words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wp, "launch", launch)
        for name in ("numpy", "list", "assign", "__init__"):
            watch(patch, name)
        yield past


def transfers_in(source: str) -> list[str]:
    """Calls in a module's text that move values between host and device past the door, or launch past the cache."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name, of_warp = node.func.attr, isinstance(node.func.value, ast.Name) and node.func.value.id == "wp"
        shared = any(word.arg == "copy" and ast.unparse(word.value) == "False" for word in node.keywords)
        given = bool(node.args) or any(word.arg == "data" for word in node.keywords)
        moves = name in {"numpy", "assign"} or (name == "list" and not node.args)
        if of_warp:
            moves = name in {"from_numpy", "launch"} or (name == "array" and given and not shared)
        if moves:
            found.append(f"{node.lineno}: {ast.unparse(node.func)}")
    return sorted(found, key=lambda place: int(place.split(":")[0]))


ROOMS = ("deformation", "tracking", "fusion", "pipelines/capture")  # whose code runs for every frame


@pytest.mark.parametrize("room", ROOMS)
def test_what_runs_for_every_frame_uses_the_door(room: str) -> None:
    modules = sorted((Path(bodystream.__file__).parent / room).rglob("*.py"))
    assert len(modules) > 1
    assert {path.name: calls for path in modules if (calls := transfers_in(path.read_text(encoding="utf-8")))} == {}


def test_ways_past_the_door_would_be_noticed() -> None:
    source = """
values = array.numpy()[:5]
array[:3].assign(values)
numbers = array.list()
new = wp.array(values, dtype=float)
other = wp.array(data=values, dtype=float)
again = wp.from_numpy(values)
wp.launch(kernel, dim=3, inputs=[])
view = wp.array(ptr=array.ptr, dtype=float, shape=3)
same = wp.array(values, dtype=float, copy=False)
"""
    assert transfers_in(source) == [
        "2: array.numpy", "3: array[:3].assign", "4: array.list", "5: wp.array", "6: wp.array", "7: wp.from_numpy",
        "8: wp.launch",
    ]  # fmt: skip


def test_watching_sees_each_way_past_the_door() -> None:
    array = wp.zeros(3, dtype=float, device=select_device("cpu"))
    with watched_warp() as past, transfers.counted() as counted:
        array.assign(np.float32([1, 2, 3]))
        wp.array(np.zeros(5, np.float32), dtype=float, device="cpu")
        assert array.list() == [1.0, 2.0, 3.0]
        transfers.upload(array, np.float32([4, 5]))
        assert transfers.download(array, 2).tolist() == [4.0, 5.0]
        wp.copy(wp.zeros(3, dtype=float, device="cpu"), array)
    assert (len(past.downloads), len(past.uploads), past.upload_bytes) == (1, 2, 12 + 20)
    assert (counted.downloads, counted.uploads) == (1, 1)
    assert (counted.download_bytes, counted.upload_bytes) == (8, 8)


def test_a_frame_crosses_as_seldom_as_it_ever_did() -> None:
    device = select_device("cpu")
    source = SyntheticSource(SyntheticConfig(frames=FRAMES), device)
    frames = [replace(frame, t_ns=10**9 + (frame.device_t_ns or 0)) for frame in source]
    capture = Capture(frames[0].intrinsics, device)
    try:
        for frame in frames[:STEADY]:
            capture.step(frame)
            capture.warp_surface()
        with transfers.counted() as counted, watched_warp() as past:
            for frame in frames[STEADY:]:
                assert capture.step(frame).status is Status.TRACKED
                capture.warp_surface()
    finally:
        capture.close()
    assert (past.downloads, past.uploads) == ([], [])
    assert past.launches == [], "what is launched for every frame is recorded once"
    steady = FRAMES - STEADY
    downloads, uploads = counted.downloads / steady, counted.uploads / steady
    megabytes = counted.upload_bytes * 1e-6 / steady
    print(f"{downloads:.1f} read-backs, {uploads:.1f} uploads of {megabytes:.2f} MB per frame")
    assert 5 <= downloads <= MOST_DOWNLOADS
    assert 5 <= uploads <= MOST_UPLOADS
    assert 2 <= megabytes <= MOST_UPLOADED_MB
