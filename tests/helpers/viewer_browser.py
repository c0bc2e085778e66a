"""A headless browser that looks at a viewer's page, for the tests of the pages."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest

from bodystream.types import Array
from helpers.needs import needs

__all__ = [
    "START_S",
    "body_text",
    "browser_at",
    "picture",
    "press",
    "resize",
    "set_checkbox",
    "severe_messages",
    "unfold",
    "wait_for",
]

START_S = 150.0  # a software renderer on a busy machine


@contextmanager
def browser_at(url: str) -> Iterator[Any]:
    """A driver of Chromium that has loaded the page; skips the test where there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("the viewer's page is tested in chromium with chromedriver, which are not installed")
    webdriver = needs("selenium.webdriver", "pip install 'bodystream[dev]'")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--window-size=1000,700",
        "--no-first-run",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.set_page_load_timeout(START_S)
        browser.get(url)
        yield browser
    finally:
        browser.quit()


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = START_S) -> Any:
    """What `condition` gives once it is true; a browser too busy, or that just draws anew, is asked again."""
    from selenium.common.exceptions import StaleElementReferenceException, TimeoutException

    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            value = condition()
        except (StaleElementReferenceException, TimeoutException):
            continue
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {timeout_s:g} s")


def picture(browser: Any) -> Array:
    """The part of the window that no panel covers, (h, w, 3) BGR."""
    taken = wait_for(browser.get_screenshot_as_png, "a picture")
    data = np.frombuffer(io.BytesIO(taken).read(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    return image[150:, : image.shape[1] - 360].astype(float)


def body_text(browser: Any) -> str:
    return browser.find_element("tag name", "body").text


def press(browser: Any, label: str) -> None:
    def click() -> bool:
        browser.find_element("xpath", f"//button[normalize-space(.)='{label}']").click()
        return True

    wait_for(click, f"the button {label}")


def unfold(browser: Any, label: str) -> None:
    """Open, or close, what is folded away under a word."""
    xpath = f"//*[normalize-space(text())='{label}']"
    browser.execute_script("arguments[0].click()", wait_for(lambda: browser.find_elements("xpath", xpath), label)[0])


def resize(browser: Any, width: int, height: int) -> None:
    """Give the page a size that a window cannot have: no window is as narrow as a phone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def set_checkbox(browser: Any, label: str) -> None:
    """Change a checkbox of the fold Show, which must be open."""
    box = f"//label[normalize-space(.)='{label}']/following::input[@type='checkbox'][1]"
    element = wait_for(lambda: browser.find_elements("xpath", box), label)[0]
    browser.execute_script("arguments[0].click()", element)
    time.sleep(0.4)  # the page sends one input per 50 ms, and of clicks faster than any finger only the last


def severe_messages(browser: Any) -> list[str]:
    """What the page complained of.

    A picture of the camera that was replaced before a slow browser came to load it is none of it.
    """
    replaced = ("blob:", "ERR_FILE_NOT_FOUND")
    return [
        entry["message"]
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE"
        and "favicon" not in str(entry)
        and not all(part in entry["message"] for part in replaced)
    ]
