"""What a user types after `--headset`."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, InputError
from bodystream.sources.headset.open import open_headset
from bodystream.types import DeviceKind

BVH = """HIERARCHY
ROOT Hips
{{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
{joints}
}}
MOTION
Frames: 30
Frame Time: 0.0333333
{frames}
"""
CHAINS = [
    [("LeftUpLeg", (9, -8, 0)), ("LeftLeg", (0, -40, 0)), ("LeftFoot", (0, -41, 0)), ("LeftToeBase", (0, -6, 13))],
    [("RightUpLeg", (-9, -8, 0)), ("RightLeg", (0, -40, 0)), ("RightFoot", (0, -41, 0)), ("RightToeBase", (0, -6, 13))],
]
TRUNK = [("Spine", (0, 11, 0)), ("Spine1", (0, 13, 0))]
ARMS = [
    [("LeftShoulder", (3, 18, 0)), ("LeftArm", (14, 2, 0)), ("LeftForeArm", (28, 0, 0)), ("LeftHand", (25, 0, 0))],
    [
        ("RightShoulder", (-3, 18, 0)),
        ("RightArm", (-14, 2, 0)),
        ("RightForeArm", (-28, 0, 0)),
        ("RightHand", (-25, 0, 0)),
    ],
    [("Neck", (0, 22, 0)), ("Head", (0, 9, 0))],
]


def chain_text(chain, inner=""):
    text = inner or "End Site { OFFSET 0 5 0 }"
    for name, (x, y, z) in reversed(chain):
        text = f"JOINT {name} {{ OFFSET {x} {y} {z} CHANNELS 3 Zrotation Yrotation Xrotation {text} }}"
    return text


@pytest.fixture
def take(tmp_path):
    arms = "\n".join(chain_text(chain) for chain in ARMS)
    joints = "\n".join([*(chain_text(chain) for chain in CHAINS), chain_text(TRUNK, arms)])
    count = 1 + sum(map(len, CHAINS)) + len(TRUNK) + sum(map(len, ARMS))
    frames = "\n".join(" ".join(["0", "95", str(k), *["0"] * (3 * count)]) for k in range(30))
    path = tmp_path / "stroll.bvh"
    # One word a line, braces on lines of their own, as exporters write it.
    path.write_text(BVH.format(joints=_lines(joints), frames=frames))
    return path


def _lines(text):
    for word in ("JOINT", "OFFSET", "CHANNELS", "End Site", "{", "}"):
        text = text.replace(word, f"\n{word}" if word not in "{}" else f"\n{word}\n")
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def test_trace(tmp_path):
    path = tmp_path / "a.csv"
    columns = ",".join(f"head_{part}" for part in ("px", "py", "pz", "qx", "qy", "qz", "qw"))
    path.write_text(f"t_s,{columns}\n0,0,1.6,0,0,0,0,1\n0.01,0,1.6,0,0,0,0,1\n")
    source = open_headset(f"trace:{path}")
    assert source.name == "trace:a.csv" and not source.live and source.rate_hz == pytest.approx(100)
    assert len(list(source)) == 2
    assert open_headset(f"trace:{path}?realtime=1").live
    assert not open_headset(f"trace:{path}?realtime=0").live


def test_motion(take):
    source = open_headset(f"motion:{take}")
    samples = list(source)
    assert source.rate_hz == 90 and len(samples) > 80 and samples[0].left.kind is DeviceKind.GRIP
    assert np.all([s.head.position_m[1] > 1.2 for s in samples])
    assert samples[0].left.position_m[0] * samples[0].right.position_m[0] < 0
    other = open_headset(f"motion:{take}?rate_hz=30&hands=hand&noise=1&lost=1&seed=3&realtime=1")
    assert other.live and other.rate_hz == 30
    assert next(iter(other)).right.kind is DeviceKind.HAND_WRIST
    assert len(list(open_headset(f"motion:bvh:{take}?take=stroll"))) == len(samples)


def test_a_folder_of_motions_wants_a_choice(take):
    (take.parent / "jog.bvh").write_text(take.read_text())
    with pytest.raises(ConfigurationError, match=r"holds 2 takes: choose one .*jog, stroll"):
        open_headset(f"motion:{take.parent}")
    assert open_headset(f"motion:{take.parent}?take=jog").name == "motion:jog"
    with pytest.raises(ConfigurationError, match="0 of them named nobody"):
        open_headset(f"motion:{take.parent}?take=nobody")


@pytest.mark.parametrize(
    "spec", ["", "trace", "trace:", "motion:", "openxr:3", "quest", "webxr2", "kinect:1", "/tmp", "TRACE:x"]
)
def test_unknown_sources_list_what_is_possible(spec):
    with pytest.raises(
        ConfigurationError,
        match=r"webxr\[:PORT\], .*trace:FILE, take:FILE, motion:PATH|write (trace|take|motion):|after the colon",
    ):
        open_headset(spec)


def test_a_bare_file_gets_a_hint(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    with pytest.raises(ConfigurationError, match=f"trace:{path}"):
        open_headset(str(path))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("speed=2", "no key 'speed'.*keys: take, rate_hz"),
        ("rate=30", "no key 'rate'.*did you mean rate_hz"),
        ("rate_hz=fast", "rate_hz must be a number, got 'fast'"),
        ("rate_hz=0", "from 1 to 1000 Hz"),
        ("hands=feet", "hands must be one of grip, hand, joint"),
        ("noise=yes", "noise must be 1 or 0"),
        ("seed=-1", "seed of a motion must be at least 0"),
        ("seed=²", "seed must be a whole number"),
        ("realtime", "cannot read 'realtime'.*key=value"),
    ],
)
def test_options_are_checked(take, options, says):
    with pytest.raises(ConfigurationError, match=says):
        open_headset(f"motion:{take}?{options}")


def test_files_that_are_not_there():
    with pytest.raises(InputError, match="nowhere.csv"):
        open_headset("trace:/nowhere.csv")
    with pytest.raises(InputError, match="nowhere.bvh"):
        open_headset("motion:/nowhere.bvh")


@pytest.mark.parametrize("port", ["65536", "http", "-1", "8.5", "９"])
def test_ports_are_checked(port):
    with pytest.raises(ConfigurationError, match="port must be (a whole number|0 to 65535)"):
        open_headset(f"webxr:{port}")


def test_devices_are_imported_only_when_they_are_asked_for(monkeypatch):
    made = []
    for module, name in (("openxr", "OpenXrHeadset"), ("webxr", "WebXrHeadset")):
        stand_in = types.ModuleType(module)
        setattr(stand_in, name, lambda _name=name, **options: made.append((_name, options)))
        monkeypatch.setitem(sys.modules, f"bodystream.sources.headset.{module}", stand_in)
    open_headset("openxr")
    open_headset("webxr", on_status=print)
    open_headset("webxr:9000?host=0.0.0.0&tls=off&origins=https://a,https://b")
    assert [name for name, _ in made] == ["OpenXrHeadset", "WebXrHeadset", "WebXrHeadset"]
    assert made[0][1]["controller_pose"] == "grip"
    assert made[1][1]["on_status"] is print and made[1][1]["port"] == 8443
    asked = made[2][1]
    assert (asked["host"], asked["port"], asked["tls"]) == ("0.0.0.0", 9000, False)
    assert asked["origins"] == ("https://a", "https://b") and asked["on_status"] is None


def test_configs_have_the_names_and_defaults_of_what_they_configure():
    from bodystream.sources.headset.configs import OpenXrConfig, WebXrConfig
    from bodystream.sources.headset.openxr import OpenXrHeadset
    from bodystream.sources.headset.webxr import WebXrHeadset

    for config, source in ((OpenXrConfig, OpenXrHeadset), (WebXrConfig, WebXrHeadset)):
        taken = inspect.signature(source).parameters
        for field in dataclasses.fields(config):
            assert taken[field.name].default == field.default, (source, field.name)
