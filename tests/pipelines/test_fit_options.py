"""Options of fits: each is refused, by its name, for the kinds of targets of which it says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from bodystream.body import BodyDecoder
from bodystream.errors import ConfigurationError
from bodystream.pipelines.fit import KINDS, FitOptions, FitReport, fit_target

GIVEN: dict[str, tuple[Any, str, set[str]]] = {
    "landmarks": (Path("l.json"), "--landmarks", {"scan"}),
    "up": ("z", "--up", {"scan", "markers"}),
    "register": (False, "--no-register", {"scan"}),
    "shape": (Path("codes.npz"), "--shape", {"depth"}),
    "frames": (20, "--frames", {"capture", "depth", "markers"}),
    "markers": (Path("m.json"), "--markers", {"markers"}),
    "unit": ("mm", "--unit", {"markers"}),
    "camera": ("1,1,0,0", "--camera", {"joints2d"}),
    "image_size": ("640,480", "--image-size", {"joints2d"}),
    "person": (2, "--person", {"joints2d"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GIVEN)
def test_an_option_is_refused_where_it_says_nothing(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[FitOptions] = []

    def fit(decoder: BodyDecoder, path: Path, options: FitOptions) -> FitReport:
        assert path == Path("target")
        taken.append(options)
        return FitReport([], {}, [])

    monkeypatch.setitem(KINDS, kind, fit)
    value, option, kinds = GIVEN[name]
    options = FitOptions(tmp_path / "fit", **{name: value})
    decoder = cast(BodyDecoder, None)
    for target in ["scan:target", "target"] if kind == "scan" else [f"{kind}:target"]:
        if kind in kinds:
            fit_target(decoder, target, options)
            assert taken.pop() is options
        else:
            with pytest.raises(
                ConfigurationError, match=f"^{option} is for .*, and says nothing of .*: leave {option} out"
            ):
                fit_target(decoder, target, options)
            assert not taken and not (tmp_path / "fit").exists()
        fit_target(decoder, target, FitOptions(tmp_path))
        assert taken.pop().most_frames == 60


def test_every_option_is_known_here() -> None:
    assert set(GIVEN) == set(FitOptions.__dataclass_fields__) - {"out", "progress"}
