"""The registered mesh of a scan: from the better fit where that one brings it nearer, else from the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodystream.body import BodyCodes, BodyDecoder
from bodystream.body.fitting import FittedBody, Placement
from bodystream.bundles import open_bundle
from bodystream.pipelines.fit import FitOptions, fit_target
from bodystream.pipelines.fit import scan as pipeline
from bodystream.sinks.mesh_files import write_mesh
from bodystream.sources.scans import read_scan
from bodystream.types import Array, Mesh
from helpers.linear_people import linear_people
from helpers.needs import needs

needs("onnx", "pip install 'bodystream[export]'")


@pytest.mark.parametrize("again_off_m", [0.001, 0.02])
def test_a_better_fit_is_registered_too_and_the_nearer_mesh_kept(
    again_off_m: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = BodyDecoder(open_bundle(linear_people(tmp_path / "people")))
    codes = BodyCodes(np.zeros(decoder.facts.shape, np.float32), np.zeros(decoder.facts.pose, np.float32))
    body, faces = decoder.vertices(codes.shape, codes.pose), decoder.space.faces
    write_mesh(tmp_path / "scan.ply", Mesh(body, faces))
    first = FittedBody(codes, Placement(np.eye(3), np.zeros(3)), body + 0.01, np.full(len(body), 0.01), 1, 1.0)
    better = replace(first, vertices=body + 0.005, distances_m=np.full(len(body), 0.005))
    begun: list[Array] = []

    def register(start: Mesh, target: object, **_: Any) -> Any:
        begun.append(start.vertices)
        off = 0.004 if len(begun) == 1 else again_off_m
        return type("Registered", (), {"vertices": body + (0.0, 0.0, off)})

    monkeypatch.setattr(pipeline, "fit_surface", lambda *_, **__: first)
    monkeypatch.setattr(pipeline, "_better", lambda *_: better)
    monkeypatch.setattr(pipeline, "register", register)
    report = fit_target(decoder, str(tmp_path / "scan.ply"), FitOptions(tmp_path / "fit"))
    assert len(begun) == 2 and begun[0] is first.vertices and begun[1] is better.vertices
    kept = read_scan(tmp_path / "fit" / "registered.ply").vertices
    np.testing.assert_allclose(kept - body, np.tile((0.0, 0.0, min(0.004, again_off_m)), (len(body), 1)), atol=1e-5)
    assert 0.0 < report.facts["registered_mean_mm"] < 1e3 * min(0.004, again_off_m) + 1e-3
    monkeypatch.setattr(pipeline, "_better", lambda *_: first)
    begun.clear()
    fit_target(decoder, str(tmp_path / "scan.ply"), FitOptions(tmp_path / "fit"))
    assert len(begun) == 1, "nothing better was found"
    assert (tmp_path / "fit" / "registered.ply").is_file()
    bare = fit_target(decoder, str(tmp_path / "scan.ply"), FitOptions(tmp_path / "fit", register=False))
    assert not (tmp_path / "fit" / "registered.ply").exists() and any(
        "of an earlier fit" in note for note in bare.notes
    )
    again = fit_target(decoder, str(tmp_path / "scan.ply"), FitOptions(tmp_path / "fit", register=False))
    assert not any("registered.ply" in note for note in again.notes)
