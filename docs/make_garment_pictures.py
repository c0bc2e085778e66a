"""Makes the pictures of generated takes, into docs/pictures, from takes that `bodystream-train garments` made.

    python docs/make_garment_pictures.py takes/1 takes/2 takes/3

`garments`: a row for each take, from the canonical pose on; `garments-strip`: some moments of the second take's motion
from ahead and behind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from make_pictures import save, sheet
from PIL import Image

from bodystream.avatar.take.files import load_take
from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream_training.avatar.data.garments.sheets import draw_frame

COLUMNS = 6
HEIGHT_PX, HALF_M, STRIP_HALF_M = 300, 0.92, 0.55
AHEAD, BEHIND = 0.45, np.pi + 0.45


def picture(take: AvatarTake, frame: PosedFrame, yaw_rad: float, half_m: float) -> Image.Image:
    return Image.fromarray(draw_frame(take, frame, HEIGHT_PX, yaw_rad, half_m))


def make_rows(takes: list[AvatarTake]) -> None:
    """The canonical pose, and moments of different motions."""
    rows = []
    for take in takes:
        names = list(dict.fromkeys(frame.motion for frame in take.frames))
        moments = [take.frames[0]]
        for number in range(COLUMNS - 1):  # of each motion in turn, another moment in each
            frames = [frame for frame in take.frames if frame.motion == names[number % len(names)]]
            part = (0.5 + 0.17 * number) % 1.0
            moments.append(frames[min(round(part * len(frames)), len(frames) - 1)])
        label = f"subject {take.subject}, {take.outfit.replace('-', ' ')}"
        rows.append((label, [picture(take, frame, AHEAD, HALF_M) for frame in moments]))
    titles = ["canonical", *[""] * (COLUMNS - 1)]
    save(sheet(titles, rows), "garments")


def make_strip(take: AvatarTake) -> None:
    """One motion in steps of a quarter of a second, from ahead and behind."""
    frames = take.split("test") or take.split("train")
    step = max(1, round(take.rate_hz / 4))
    chosen = frames[len(frames) // 4 :: step][:8]
    rows = [
        (name, [picture(take, frame, yaw, STRIP_HALF_M) for frame in chosen])
        for name, yaw in (("", AHEAD), ("from behind", BEHIND))
    ]
    titles = [f"{number * step / take.rate_hz:.2f} s" for number in range(len(chosen))]
    save(sheet(titles, rows), "garments-strip")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("takes", nargs="+", type=Path)
    takes = [load_take(path) for path in parser.parse_args().takes]
    make_rows(takes)
    make_strip(takes[min(1, len(takes) - 1)])


if __name__ == "__main__":
    main()
