"""Drive a body from a table of head and hands, and ask for poses at the time at which a picture will be seen."""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

from bodystream import JOINTS, DriveSession, now_ns, open_headset

DEVICES = ("head", "left", "right")


def write_table(path: Path, seconds: float = 2.0, rate_hz: int = 60) -> None:
    """Somebody who looks ahead and swings both hands: metres, y up, quaternions x, y, z, w."""
    columns = [f"{device}_{part}" for device in DEVICES for part in ("px", "py", "pz", "qx", "qy", "qz", "qw")]
    rows = [",".join(["t_s", *columns])]
    for k in range(int(seconds * rate_hz)):
        swing = 0.1 * math.sin(2 * math.pi * k / rate_hz)
        head, left, right = (0.0, 1.6, 0.0), (-0.25, 1.0, -0.25 + swing), (0.25, 1.0, -0.25 - swing)
        values = [v for place in (head, left, right) for v in (*place, 0.0, 0.0, 0.0, 1.0)]
        rows.append(",".join(f"{value:.4f}" for value in (k / rate_hz, *values)))
    path.write_text("\n".join(rows) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, nargs="?", help="CSV, see docs/drive.md; default: one made here")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = wanted.table or Path(folder) / "swing.csv"
        if wanted.table is None:
            write_table(table)
        # realtime: samples come at the table's own pace, as from a headset; else as fast as they are processed.
        with DriveSession(open_headset(f"trace:{table}", realtime=True)) as session:
            session.start()  # a thread of the session's own drives; this one draws
            while session.state == "running":
                if session.result is not None:
                    seen_ns = now_ns() + 20_000_000  # the picture will be seen in 20 ms
                    pose = session.pose_at(seen_ns)
                    age_ms = pose.age_s * 1e3  # of the sample that it rests on
                    print(f"pelvis at {pose.joints_m[0].round(3)} m, {pose.status}, data {age_ms:.0f} ms old")
                try:
                    session.wait(0.1)
                except TimeoutError:
                    continue
            report = session.report
    print(f"{report.frames.processed} poses of {len(JOINTS)} joints, latency {report.latency.p99_ms:.1f} ms (99 %)")


if __name__ == "__main__":
    main()
