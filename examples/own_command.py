"""A command of your own: a frozen dataclass whose fields are the options, and `run`, which returns the exit code."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from bodystream import BodystreamError, CaptureSession, ConfigurationError, open_source


@dataclass(frozen=True)
class Snapshot:
    """Track some frames, and write the surface of the last one as a point cloud (.xyz)."""

    source: str = "synthetic?width=320&height=240"
    """kind:target?key=value&key=value, as `bodystream live --source`."""

    frames: int = 8
    """How many to track."""

    out: Path = Path("surface.xyz")
    """File to write: x y z [m] per line, in the camera's frame."""

    def run(self) -> int:
        if self.frames < 1:
            raise ConfigurationError(f"--frames must be at least 1, got {self.frames}")
        with CaptureSession(open_source(self.source, frames=self.frames), frames=self.frames) as session:
            session.run()
            mesh = session.live_mesh()
        self.out.write_text("".join(f"{x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in mesh.vertices.tolist()))
        print(f"wrote {len(mesh.vertices)} points to {self.out}")
        return 0


if __name__ == "__main__":
    try:
        sys.exit(tyro.cli(Snapshot).run())
    except BodystreamError as error:  # one line that says what to do
        sys.exit(f"error: {error}")
