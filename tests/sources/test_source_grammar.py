"""`kind:target?key=value&key=value`, for cameras and headsets alike."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal

import pytest

from bodystream.errors import ConfigurationError
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.grammar import SourceKind, choose, describe_kinds
from bodystream.sources.headset.open import HEADSET_KINDS
from bodystream.sources.open import SOURCE_KINDS, open_source
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.types import CameraIntrinsics

DOCS = Path(__file__).resolve().parents[2] / "docs"


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    """Has one field of each type that can be typed."""

    count: int = 1
    rate_hz: float | None = None
    mode: Literal["fast", "slow"] = "fast"
    loop: bool = False
    label: str | None = None
    camera: CameraIntrinsics | None = None
    table: Path | None = None
    names: tuple[str, ...] = ()
    live: bool = False


KINDS = (
    SourceKind("toy", "a toy", f"{__name__}:ToyConfig", lambda *made: made, target="PATH", hidden=("live",)),
    SourceKind(
        "dice", "a die", f"{__name__}:ToyConfig", lambda *made: made, target="N", optional=True, target_key="count"
    ),
    SourceKind("coin", "a coin", f"{__name__}:ToyConfig", lambda *made: made),
)


def config_of(spec: str) -> ToyConfig:
    return choose(spec, KINDS, "source").config


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("?count=-3", {"count": -3}),
        ("?rate_hz=2.5e1", {"rate_hz": 25.0}),
        ("?mode=slow&loop=1", {"mode": "slow", "loop": True}),
        ("?loop=on", {"loop": True}),
        ("?loop=false", {"loop": False}),
        ("?label=High Accuracy", {"label": "High Accuracy"}),
        ("?label=a%26b%3Dc%25=d+e", {"label": "a&b=c%=d+e"}),
        ("?label=", {"label": ""}),
        ("?camera=525,525.5,319.5,239.5,640,480", {"camera": CameraIntrinsics(525, 525.5, 319.5, 239.5, 640, 480)}),
        ("?table=~/t.csv", {"table": Path.home() / "t.csv"}),
        ("?names=a,b", {"names": ("a", "b")}),
        ("?names=", {"names": ()}),
    ],
)
def test_fields_and_types_of_the_config_are_the_keys(query: str, expected: dict) -> None:
    chosen = choose(f"toy:take{query}", KINDS, "source")
    assert (chosen.kind.name, chosen.target) == ("toy", "take")
    assert chosen.config == ToyConfig(**expected)
    assert chosen.open("how") == ("take", chosen.config, "how")


def test_a_target_may_be_left_away_or_fill_a_key() -> None:
    assert config_of("dice") == ToyConfig() and config_of("coin?loop=1").loop
    assert config_of("dice:7").count == config_of("dice?count=7").count == 7
    assert config_of("dice:7?mode=slow") == ToyConfig(count=7, mode="slow")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("toy:take?rate=30", "toy has no key 'rate'.*did you mean rate_hz\\? \\(keys: count, rate_hz"),
        ("toy:take?live=1", "toy has no key 'live'"),
        ("toy:take?count=two", "toy: count must be a whole number, got 'two'"),
        ("toy:take?count=１", "count must be a whole number"),
        ("toy:take?rate_hz=nan", "rate_hz must be a number, got 'nan'"),
        ("toy:take?rate_hz=1_0", "rate_hz must be a number"),
        ("toy:take?mode=slov", "mode must be one of fast, slow, got 'slov': did you mean slow"),
        ("toy:take?loop=yes", "loop must be 1 or 0"),
        ("toy:take?camera=1,2,3", "camera must be six numbers FX,FY,CX,CY,WIDTH,HEIGHT, got '1,2,3'"),
        ("toy:take?camera=1,2,3,4,5.5,6", "width and height are whole"),
        ("toy:take?camera=-1,2,3,4,5,6", "camera=-1,2,3,4,5,6 cannot be used: .*focal"),
        ("toy:take?table=", "table must be the path"),
        ("toy:take?count=1&count=2", "count is given twice"),
        ("toy:take?loop", "cannot read 'loop'.*key=value.*keys of toy: count"),
        ("toy:take?=1", "cannot read '=1'"),
        ("dice:six", "dice: count must be a whole number, got 'six'"),
        ("dice:7?count=8", "count is given twice.*behind the colon and as a key"),
        ("toy", "toy has to be told which: write toy:PATH"),
        ("toy:?loop=1", "write toy:PATH"),
        ("coin:heads", "coin takes nothing after the colon"),
        ("dise", "there is no source 'dise': did you mean dice.*toy:PATH, dice\\[:N\\], coin"),
        ("TOY:x", "did you mean toy"),
        ("", "there is no source ''"),
        ("toy;x", "there is no source"),
        ("toy:a\0b", "null characters"),
        ("toy:" + "x" * 9000, "up to 8192 characters"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_can(spec: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        choose(spec, KINDS, "source")


def test_question_marks_in_names_that_exist(tmp_path: Path) -> None:
    path = tmp_path / "what?now=1"
    path.mkdir()
    assert choose(f"toy:{path}", KINDS, "source").target == str(path)
    chosen = choose(f"toy:{path}?label=a?b", KINDS, "source")
    assert chosen.target == str(path) and chosen.config.label == "a?b"
    assert choose(f"toy:{tmp_path}/who?label=x", KINDS, "source").target == f"{tmp_path}/who"  # is not there


def test_a_bare_path_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"for a recording write folder:{re.escape(str(tmp_path))}"):
        open_source(str(tmp_path))


def test_every_camera_has_its_own_config() -> None:
    source = open_source("synthetic:3?width=64&height=48&motion=walk&noise=none", "cpu", frames=2)
    assert isinstance(source, SyntheticSource)
    assert source.config == SyntheticConfig(3, 64, 48, frames=2, motion="walk", noise="none")
    live = open_source("synthetic?width=64&height=48", "cpu", frames=2, pace="live")
    assert isinstance(live, SyntheticSource) and live.live and live.config.frames is None
    paced = open_source("synthetic?width=64&height=48&frames=5", "cpu", frames=2, pace="paced")
    assert isinstance(paced, SyntheticSource) and paced.config.paced and paced.config.frames == 5
    folder = choose("folder:a?depth_scale_m=0.001&loop=1", SOURCE_KINDS, "source")
    assert folder.config == FolderConfig(depth_scale_m=0.001, loop=True)
    camera = choose("realsense:123?emitter=off&exposure_us=8000&preset=High Accuracy", SOURCE_KINDS, "source").config
    assert (camera.emitter, camera.exposure_us, camera.preset) == (False, 8000, "High Accuracy")
    with pytest.raises(ConfigurationError, match="depth_scale_m must be a positive number, got -1"):
        choose("folder:a?depth_scale_m=-1", SOURCE_KINDS, "source")
    with pytest.raises(ConfigurationError, match="pace must be one of all, paced, live, got 'slow'"):
        open_source("synthetic", "cpu", pace="slow")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [*SOURCE_KINDS, *HEADSET_KINDS], ids=lambda kind: kind.name)
def test_configs_are_frozen_and_every_key_is_explained(kind: SourceKind) -> None:
    config = kind.config_type()
    assert config.__dataclass_params__.frozen
    assert set(kind.hidden) <= {field.name for field in dataclasses.fields(config)}
    page = (DOCS / ("capture.md" if kind in SOURCE_KINDS else "drive.md")).read_text(encoding="utf-8")
    missing = [key for key in kind.keys() if f"`{key}`" not in page and f"`{key}=" not in page]
    assert not missing, f"{page[:20]!r} says nothing of {missing} of {kind.name}"


def test_help_is_made_of_the_configs() -> None:
    shown = describe_kinds(KINDS, 60)
    assert all(len(line) <= 60 and line.startswith("  ") for line in shown.splitlines())
    assert "toy:PATH: a toy" in shown and "dice[:N]: a die" in shown
    assert shown.count("mode=fast|slow") == 3 and "live=0|1" not in shown.partition("dice")[0]
    assert "camera=FX,FY,CX,CY,WIDTH,HEIGHT" in shown and "names=TEXT,..." in shown
