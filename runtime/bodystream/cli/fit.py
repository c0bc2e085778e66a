"""`bodystream fit`: the body of an embedding that lies on a scan."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodystream.cli.options import BundleWords, optional, switched_off
from bodystream.cli.process import start_warp

__all__ = ["Fit"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Find the body of an embedding that lies on a scan: who it is, how it stands, and a mesh of one topology.

    The scan is of one person, in metres, y up, standing anywhere; a mesh of any topology, with holes or not, or points.
    A start is found among bodies in several poses, turned about the vertical; landmarks make it sure.
    A capture, the folder that live --out wrote, becomes a take that bodystream-train avatar --data reads. Markers with
    the labels of Plug-in Gait or CMU have places; a person has one shape in all frames. Examples:
      bodystream fit scan.ply --out fit
      bodystream fit scan.ply --landmarks points.json --out fit --json
      bodystream fit capture:out --out fit
      bodystream fit depth:a1_s1_t1_depth.mat --out fit
      bodystream fit depth:walk depth:wave depth:sit --out fit
      bodystream fit markers:walk.c3d --frames 500 --out fit --json
      bodystream fit markers:walk.c3d --markers places.json --unit mm --up z --out fit
      bodystream fit joints2d:pose.json --camera 1145,1144,512,515 --out fit --json
      bodystream fit joints2d:pose.json --image-size 1920,1080 --person 2 --out fit
    """

    target: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TARGET...", help_behavior_hint="")]
    """The file of a scan (.ply, .obj, ...), or capture:FOLDER, depth:RECORDING, markers:FILE.c3d or joints2d:FILE; or
    several depth recordings of one person, who has one shape in all of them."""

    out: Path
    """Folder for codes.npz, fit.json, meshes and a picture of the distances; of a capture for a take; of several
    recordings with a folder for each of them."""

    landmarks: Annotated[Path | None, optional("FILE")] = None
    """Known places [m] in a JSON file, by joint or by number of the body's vertex: {"left_wrist": [0.5, 1.0, 0.1]}."""

    up: Annotated[Literal["x", "y", "z", "-x", "-y", "-z"] | None, optional("AXIS")] = None
    """Which axis is up: of a scan y unless it is said, of markers the one along which people stand."""

    register: Annotated[bool, switched_off("Leave the registered mesh of a scan out.")] = True

    shape: Annotated[Path | None, optional("FILE")] = None
    """The codes.npz of an earlier fit of the same person: a depth recording is fitted with that shape."""

    frames: Annotated[int | None, optional("N")] = None
    """Of a capture, a depth recording or markers, at most so many frames are taken, evenly spread: 60 unless given."""

    markers: Annotated[Path | None, optional("FILE")] = None
    """Places of markers in a JSON file, vertices of the body or joints: {"LFHD": 1234, "LWRIST": "left_wrist"}."""

    unit: Annotated[str, optional("UNIT")] = ""
    """What markers are in, whatever their file says: mm, cm, dm, m, in or ft."""

    camera: Annotated[str, optional("FX,FY,CX,CY")] = ""
    """Of a picture whose joints are given: focal lengths and principal point [px]."""

    image_size: Annotated[str, optional("WIDTH,HEIGHT")] = ""
    """Of that picture [px], where its camera is not known: 60 degrees along the longer side are assumed, and told."""

    person: int = 0
    """Of several people in a picture, from 1; 0 is the one whose joints are the most confident."""

    bundle: BundleWords = ()
    """Another embedding than the shipped one, a folder or a zip file: body=PATH."""

    json: bool = False
    """Print one JSON object: written files, seconds, and the mean distance by the kind of target (docs/fit.md)."""

    def run(self) -> int:
        from rich.console import Console

        from bodystream.body import BodyDecoder
        from bodystream.bundles import BundleChoice
        from bodystream.pipelines.fit import FitOptions, fit_targets

        bundle = BundleChoice.parse(self.bundle, ("body",)).open("body")
        start_warp()
        console = Console(stderr=True, highlight=False)
        options = FitOptions(
            self.out,
            self.landmarks,
            self.shape,
            self.up,
            self.register,
            self.frames,
            self.markers,
            self.unit,
            self.camera,
            self.image_size,
            self.person,
            lambda line: console.print(line, markup=False, soft_wrap=True),
        )
        report = fit_targets(BodyDecoder(bundle), self.target, options)
        for note in report.notes:
            console.print(f"note: {note}", markup=False, soft_wrap=True)
        if self.json:
            print(json.dumps({"written": [str(path) for path in report.written], **report.facts}))
            return 0
        facts = report.facts
        told = (
            report.told
            or f"{facts['point_to_mesh_mean_mm']:.1f} mm from the scan on average, after {facts['seconds']:.1f} s"
        )
        console.print(f"{told}; wrote {', '.join(str(path) for path in report.written)}", markup=False, soft_wrap=True)
        return 0
