"""Motion capture on one skeleton: joints, speeds and heights of a BVH, ASF/AMC or AMASS file."""

from __future__ import annotations

import argparse

import numpy as np

from bodystream import JOINTS, InputError, read_motion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", help="a file, or a folder or archive of them")
    parser.add_argument("--take", help="its name, where the path holds several")
    wanted = parser.parse_args()
    warnings: list[str] = []
    try:
        clip = read_motion(wanted.path, wanted.take, warnings=warnings)
    except InputError as error:  # names the file and what is wrong with it
        raise SystemExit(f"error: {error}") from error
    for warning in warnings:  # what had to be guessed: unit, axes, floor, names
        print(f"warning: {warning}")
    places_m, _ = clip.joints()  # (T, 22, 3), y up, the floor near 0
    speed_m_s = np.linalg.norm(np.diff(places_m, axis=0), axis=2) * clip.rate_hz
    print(f"{clip.name}: {len(clip)} frames at {clip.rate_hz:g} Hz, {clip.duration_s:.1f} s")
    for joint in ("head", "left_wrist", "right_wrist", "left_foot", "right_foot"):
        k = JOINTS.index(joint)
        heights_m = places_m[:, k, 1]
        print(f"  {joint:11} {heights_m.min():5.2f} to {heights_m.max():5.2f} m high", end="")
        print(f", up to {speed_m_s[:, k].max():.1f} m/s" if len(clip) > 1 else "")


if __name__ == "__main__":
    main()
