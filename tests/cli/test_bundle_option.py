"""`--bundle NAME=PATH` and its counterparts in Python: the chosen bundle is used, and a wrong one is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bodystream.bundles import BundleChoice, find_bundle, open_bundle
from bodystream.cli.drive import Drive
from bodystream.cli.main import main
from bodystream.device import select_device
from bodystream.errors import ConfigurationError
from bodystream.pipelines.drive.pipeline import DriveConfig, Driver
from bodystream.sources import open_source
from bodystream.types import DeviceKind, HeadsetSample, TrackedDevice
from helpers.bundles import write_bundle, zip_bundle


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the shipped bundles under other names: a zip of the network, a body that is a head taller."""
    folder = tmp_path_factory.mktemp("own")
    zip_bundle(find_bundle("pose").place, folder / "mine.zip", method=0)
    with np.load(find_bundle("person").path("rig.npz")) as data:
        arrays = dict(data)
    arrays["vertices"] = arrays["vertices"] * np.float32(1.1)
    arrays["joints"] = arrays["joints"] * np.float32(1.1)
    (folder / "tall").mkdir()
    np.savez(folder / "rig.npz", **arrays)
    write_bundle(folder / "tall", "skinned-body", {"rig.npz": (folder / "rig.npz").read_bytes()})
    return folder


def driven(config: DriveConfig) -> tuple[np.ndarray, float, Driver]:
    """Rotations of one pose, and how tall the surface is."""
    driver = Driver(select_device("cpu"), config)
    upright, at = np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 1.5, 0.0])
    devices = [
        TrackedDevice(at + offset, upright, DeviceKind.JOINT) for offset in ((0, 0, 0), (-0.6, -0.2, 0), (0.6, -0.2, 0))
    ]
    result = driver.step(HeadsetSample(0, 0, *devices))
    assert result is not None
    heights = driver.posed_mesh().vertices[:, 1]
    driver.close()
    return result.pose.rotations_xyzw, float(np.ptp(heights)), driver


def test_driving_takes_network_and_body_that_were_chosen(own: Path) -> None:
    shipped, height, _ = driven(DriveConfig(skeleton=None))
    choice = BundleChoice({"pose": own / "mine.zip", "person": own / "tall"})
    turned, _, driver = driven(DriveConfig(bundles=choice))
    np.testing.assert_array_equal(turned, shipped)  # the same network from another place
    assert driver._sampler.bundle.place == own / "mine.zip"
    assert driver.avatar_label == "tall 1" and height > 1.0


def test_the_synthetic_camera_shows_the_chosen_body(own: Path) -> None:
    shipped, tall = (
        open_source("synthetic:0?noise=none", "cpu", frames=1, bundles=BundleChoice(places))
        for places in ({}, {"person": own / "tall"})
    )
    heights = [np.ptp(next(iter(source)).truth.mesh.vertices[:, 1]) for source in (shipped, tall)]
    assert heights[1] / heights[0] == pytest.approx(1.1, abs=0.01)
    with pytest.raises(ConfigurationError, match=r"folder:x uses no bundle: only the synthetic camera"):
        open_source("folder:x", "cpu", bundles=BundleChoice({"person": own / "tall"}))


def test_the_command_hands_its_choice_on(own: Path) -> None:
    words = (f"pose={own / 'mine.zip'}", f"person={own / 'tall'}")
    config = Drive(headset="trace:x", bundle=words)._config()
    assert dict(config.bundles.places) == {"pose": own / "mine.zip", "person": own / "tall"}


def test_the_command_drives_the_chosen_avatar(own: Path) -> None:
    for avatar, label in (("default", "default"), (str(own / "tall"), str(own / "tall"))):
        config = Drive(headset="trace:x", avatar=avatar)._config()
        _, _, driver = driven(config)
        assert driver.avatar_label == label


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["live", "--headless", "--bundle", "pose=x"], "no bundle 'pose' to be chosen here, only person"),
        (["live", "--headless", "--bundle", "person=absent"], "absent: cannot be read"),
        (["live", "--headless", "--source", "folder:x", "--bundle", "person=x"], "uses no bundle"),
        (["eval", "pose", "--data", "x", "--bundle", "person=x"], "no bundle 'person' to be chosen here, only pose"),
        (
            ["eval", "pose", "--data", "x", "--bundle", "pose={own}/tall"],
            "'tall' (",
        ),
        (["samples", "out", "--bundle", "pose=x"], "only person"),
        (
            ["doctor", "--bundle", "avatar=x"],
            "no bundle 'avatar' to be chosen here, only person, pose, flow, flow-full",
        ),
        (["samples", "out", "--bundle", "person"], "--bundle takes NAME=PATH"),
    ],
)
def test_a_wrong_choice_is_one_line(
    own: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([word.format(own=own) for word in words]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and said in lines[0]


def test_samples_of_a_chosen_body(own: Path, tmp_path: Path) -> None:
    from bodystream.pipelines.samples import SampleSizes, write_samples

    made = [
        write_samples(
            tmp_path / name, select_device("cpu"), sizes=SampleSizes(frames=1, seconds=0.1, pair=(0, 1)), bundles=choice
        )
        for name, choice in (("a", None), ("b", BundleChoice({"person": own / "tall"})))
    ]
    shutil.rmtree(tmp_path / "a" / "pair")
    first, second = ((folder[0] / "depth" / "000000.png").read_bytes() for folder in made)
    assert first != second and open_bundle(own / "tall").manifest.name == "tall"
