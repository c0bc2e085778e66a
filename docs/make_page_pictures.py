"""Makes docs/pictures/page.png and quest.png: the page of `bodystream serve` on a desk, a phone and in a headset.

    python docs/make_page_pictures.py

Needs the extra `dev`, `chromium`, `chromedriver`, and what `make web` installs into `web`. Everybody in the pictures is
the shipped body: the synthetic camera shows it, and the headset is made of the same motion, played by iwer.
"""

from __future__ import annotations

import argparse
import io
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from make_pictures import BACKGROUND, save
from PIL import Image

from bodystream.device import select_device
from bodystream.pipelines.samples import sample_clip
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.headset.table import write_headset_csv
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.types import HeadsetSample, TrackedDevice

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from helpers.headset_browser import worn  # noqa: E402
from helpers.viewer_browser import browser_at, resize, wait_for  # noqa: E402

SECONDS, RATE_HZ = 8.0, 60.0
DESK, PHONE, EYES = (1280, 800), (390, 844), (1280, 720)
HEIGHT, EYES_HEIGHT, MARGIN = 470, 540, 12


@contextmanager
def serving(*words: str) -> Iterator[str]:
    """`bodystream serve` with these options; gives the page's address."""
    command = [sys.executable, "-m", "bodystream.cli.main", "serve", "--port", "0", "--no-tls", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.match(r"open (http\S+)", line):
                yield found[1]
                return
        raise SystemExit("bodystream serve ended at once: start it by hand to see why")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def iwer_recording(samples: Sequence[HeadsetSample]) -> dict[str, Any]:
    """Samples of head and controllers in the format that iwer plays."""

    def numbers(device: TrackedDevice) -> list[float]:
        return [*map(float, device.position_m), *map(float, device.rotation_xyzw)]

    schema = {
        "targetRayMode": "tracked-pointer", "profiles": ["generic-trigger"], "hasGrip": True, "hasHand": False,
        "hasGamepad": False,
    }  # fmt: skip
    frames = []
    for sample in samples:
        hands = [(number, getattr(sample, side)) for number, side in enumerate(("left", "right"))]
        inputs = [[number, *[numbers(hand)] * 2] for number, hand in hands if hand is not None]
        if sample.head is not None:
            frames.append([sample.t_ns * 1e-6, *numbers(sample.head), *([n, *ray, grip] for n, ray, grip in inputs)])
    return {
        "schema": [[i, {"handedness": side, **schema}] for i, side in enumerate(("left", "right"))],
        "frames": frames,
    }


def scheme(browser: Any, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def picture(browser: Any) -> Image.Image:
    return Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")


def live(browser: Any, address: str, seconds: float) -> None:
    """The page, once it has been live for a while."""
    browser.get(address)
    body = browser.find_element("tag name", "body")
    wait_for(lambda: body.get_attribute("data-phase") == "live", "a first picture")
    time.sleep(seconds)


def desk_and_phone(browser: Any, address: str) -> Image.Image:
    shots = []
    for size, name, script in (
        (DESK, "light", ""),
        (PHONE, "dark", "[...document.querySelectorAll('[data-view]')][1].click()"),
    ):
        resize(browser, *size)
        scheme(browser, name)
        live(browser, address, 8.0)
        browser.execute_script(script)
        time.sleep(4.0 if script else 0.0)
        shot = picture(browser)
        shots.append(shot.resize((round(shot.width * HEIGHT / shot.height), HEIGHT), Image.Resampling.LANCZOS))
    page = Image.new("RGB", (sum(shot.width for shot in shots) + MARGIN, HEIGHT), BACKGROUND)
    page.paste(shots[0], (0, 0))
    page.paste(shots[1], (shots[0].width + MARGIN, 0))
    return page


def through_the_eyes(browser: Any, address: str, recording: dict[str, Any], at_s: float) -> Image.Image:
    resize(browser, *EYES)
    scheme(browser, "light")
    with worn(browser, recording):
        live_button = "return !document.getElementById('enter').disabled"
        browser.get(address)
        wait_for(lambda: browser.execute_script(live_button), "a headset")
        browser.find_element("id", "enter").click()
        body = browser.find_element("tag name", "body")
        wait_for(lambda: body.get_attribute("data-phase") == "live", "the body")
        time.sleep(8.0)
        browser.execute_script(f"worn.player.seek({round(1000 * at_s)}); worn.player.stop();")
        time.sleep(4.0)
        shot = picture(browser)
    return shot.resize((round(shot.width * EYES_HEIGHT / shot.height), EYES_HEIGHT), Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="?", choices=("page", "quest"), help="default: both")
    which = parser.parse_args().which
    source = SyntheticSource(SyntheticConfig(seed=0, frames=1), select_device("auto"))
    samples = list(MotionHeadset(sample_clip(source.body, "limbs", 0, SECONDS, RATE_HZ)).samples)
    source.close()
    with browser_at("about:blank") as browser, tempfile.TemporaryDirectory() as folder:
        if which != "quest":
            trace = Path(folder) / "headset.csv"
            write_headset_csv(trace, samples)
            with serving("--source", "synthetic", "--headset", f"trace:{trace}") as address:
                save(desk_and_phone(browser, address), "page")
        if which != "page":
            with serving("--headset", "webxr") as address:
                save(through_the_eyes(browser, address, iwer_recording(samples), SECONDS / 2), "quest")


if __name__ == "__main__":
    main()
