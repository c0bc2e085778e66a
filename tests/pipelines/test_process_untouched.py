"""A session is a guest in somebody's process: it leaves every setting of it as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Writes what two sessions changed of the process's settings; cv2 and Warp are set up by the program, as its owner does.
PROGRAM = """
import gc, json, logging, os, signal, sys, threading, warnings
import cv2
import numpy as np
import warp as wp

wp.init()
cv2.setNumThreads(3)
gc.collect()


def facts():
    config = {k: v for k, v in vars(wp.config).items() if isinstance(v, (bool, int, float, str, type(None)))}
    stderr = os.fstat(2)
    root = logging.getLogger()
    return {
        "gc": [gc.get_freeze_count(), gc.isenabled(), list(gc.get_threshold())],
        "cv2 threads": cv2.getNumThreads(),
        "stderr": [stderr.st_dev, stderr.st_ino],
        "warp.config": config,
        "environment": dict(os.environ),
        "signals": {str(n): str(signal.getsignal(n)) for n in signal.valid_signals()},
        "wakeup": signal.set_wakeup_fd(-1),
        "numpy": np.geterr(),
        "logging": [root.level, len(root.handlers)],
        "warnings": [str(f) for f in warnings.filters],
        "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.stdout), sys.getswitchinterval()],
        "folder": os.getcwd(),
    }


import cv2, scipy.optimize, scipy.spatial  # whose import may add a filter for warnings
from bodystream.pipelines.capture.files import CaptureFiles
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.pipelines.drive.files import DriveFiles
from bodystream.pipelines.drive.session import DriveSession
from bodystream.sources.headset.replay import ReplayedHeadset
from helpers.headset_motions import walking
from helpers.drive_parts import samples_of
from helpers.pipeline_frames import frames
from pathlib import Path

before = facts()
with CaptureSession(device="cpu", sinks=[CaptureFiles(Path("capture"))]) as session:
    for frame in frames()[:3]:
        session.push(frame)
    during = facts()
with DriveSession(ReplayedHeadset("walk", samples_of(walking(0.2)), 90.0, False), device="cpu") as session:
    session.add_sink(DriveFiles(Path("drive")))
    session.run()
after = facts()
print(json.dumps({name: [before[name], during[name], after[name]] for name in before
                  if not before[name] == during[name] == after[name]}))
"""


def test_sessions_change_no_setting_of_the_process(tmp_path: Path) -> None:
    paths = [*(str(ROOT / folder) for folder in ("runtime", "tests")), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
    assert {path.name for path in (tmp_path / "drive").iterdir()} == {"headset.csv", "driven.bvh", "driven.glb"}
