"""A browser that believes it is worn: iwer in place of a headset, which plays a recorded session.

iwer calls the position of each controller guessed (`emulatedPosition`), which the server rightly does not use; the
recording's were measured, so the script says that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from bodystream.types import Array
from helpers.node import node_modules

__all__ = ["pull_trigger", "standing", "worn"]

_PLAY = """
{
  const device = new IWER.XRDevice(IWER.metaQuest3, { stereoEnabled: STEREO });
  device.installRuntime({ forceInstall: true });
  const request = navigator.xr.requestSession.bind(navigator.xr);
  window.worn = { device, session: null, player: null, mode: null };
  const modes = MODES;
  const supported = navigator.xr.isSessionSupported.bind(navigator.xr);
  navigator.xr.isSessionSupported = async (mode) => modes.includes(mode) && supported(mode);
  navigator.xr.requestSession = async (mode, options) => {
    const session = await request(mode, options);
    const space = await session.requestReferenceSpace("local-floor");
    const player = device.createActionPlayer(space, RECORDING, { loop: true });
    player.play();
    Object.assign(window.worn, { session, player, mode });
    return session;
  };
  const getPose = XRFrame.prototype.getPose;
  XRFrame.prototype.getPose = function (space, base) {
    const pose = getPose.call(this, space, base);
    if (pose) Object.defineProperty(pose, "emulatedPosition", { value: false });
    return pose;
  };
}
"""


@contextmanager
def worn(
    browser: Any, recording: Mapping[str, Any], modes: tuple[str, ...] = ("immersive-vr",), stereo: bool = False
) -> Iterator[None]:
    """Pages that are loaded within run in a headset, whose user does what the recording (iwer's format) holds."""
    library = (node_modules("iwer") / "build" / "iwer.min.js").read_text(encoding="utf-8")
    play = _PLAY.replace("RECORDING", json.dumps(recording)).replace("MODES", json.dumps(modes))
    play = play.replace("STEREO", json.dumps(stereo))
    given = {"source": f"{library}\n{play}"}
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", given)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def standing(head_m: Array, right_m: Array, right_at_m: Array) -> dict[str, Any]:
    """A recording of somebody who looks along -z with a controller in each hand, and points with the right one.

    Args:
        head_m, right_m: (3,) of the eyes and of the right controller.
        right_at_m: (3,) what it points at.
    """
    ahead = (right_at_m - right_m) / np.linalg.norm(right_at_m - right_m)
    turn = np.append(np.cross((0.0, 0.0, -1.0), ahead), 1.0 + np.dot((0.0, 0.0, -1.0), ahead))
    turn = turn / np.linalg.norm(turn)
    schema = {
        "targetRayMode": "tracked-pointer", "profiles": ["generic-trigger"], "hasGrip": True, "hasHand": False,
        "hasGamepad": False,
    }  # fmt: skip
    left = [-0.3, float(right_m[1]), -0.1, 0.0, 0.0, 0.0, 1.0]
    right = [*map(float, right_m), *map(float, turn)]
    frames = [
        [10.0 * i, *map(float, head_m), 0.0, 0.0, 0.0, 1.0, [0, *left, left], [1, *right, right]] for i in range(200)
    ]
    return {
        "schema": [[i, {"handedness": side, **schema}] for i, side in enumerate(("left", "right"))],
        "frames": frames,
    }


def pull_trigger(browser: Any, side: str) -> None:
    """Select what the controller of a side points at."""
    browser.execute_script(
        "const source = [...worn.session.inputSources].find((s) => s.handedness === arguments[0]);"
        "worn.session.requestAnimationFrame((_, frame) => worn.session.dispatchEvent("
        "new XRInputSourceEvent('select', { frame, inputSource: source })));",
        side,
    )
