"""From a camera to one's own avatar, on the synthetic camera, whose true surface is known; a picture of each step.

    make chain                                     # into chain/; the same again goes on from where it was stopped
    python docs/make_chain.py --out chain --json chain/figures.json
    python docs/make_chain.py --bundle body=bundles/body --steps 2000

It runs the commands that a user would type, one after the other, and compares what comes of them with the truth.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from chain_steps import Step, StepError, run_steps

from bodystream.bundles import BundleChoice
from bodystream.errors import BodystreamError, ConfigurationError
from bodystream.files import atomic_path, check_output, prepare_folder

SOURCE = "synthetic?motion=limbs"
MAX_BYTES = 200_000
"""Of a picture."""


def steps_of(folder: Path, options: argparse.Namespace, body: Path | None = None) -> list[Step]:
    """The commands, in order.

    Args:
        body: place of the embedding, which the fit reads; default: where it is found.

    Raises:
        BundleError, ConfigurationError: there is no embedding, or another bundle was given for it; quotes of --train
            that are not closed.
    """
    try:
        train = shlex.split(options.train)
    except ValueError as error:
        raise ConfigurationError(f"--train {options.train}: {error}: close what is quoted") from error
    capture, fit, run, avatar, reposed = (folder / name for name in ("capture", "fit", "run", "me", "reposed"))
    report, learned = folder / "capture.json", run / "ins.safetensors"
    bundle = tuple(word for given in options.bundle for word in ("--bundle", given))
    if body is None:
        body = BundleChoice.parse(options.bundle, ("body",)).open("body").place
    return [
        Step(
            "capture",
            ("bodystream", "live", "--source", options.source, "--frames", str(options.frames), "--headless",
             "--out", str(capture), "--report", str(report)),
            (), (capture, report),
        ),
        Step(
            "fit",
            ("bodystream", "fit", f"capture:{capture}", "--out", str(fit), "--frames", str(options.registered), *bundle,
             "--json"),
            (capture, body), (fit, folder / "fit.json"), folder / "fit.json",
        ),
        Step(
            "train",
            ("bodystream-train", "avatar", "--data", str(fit), "--out", str(run), "--steps", str(options.steps),
             "--omega", "15", *train),
            (fit,), (run, learned),
        ),
        Step(
            "export",
            ("bodystream-export", "avatar", "--checkpoint", str(run), "--out", str(avatar)),
            (learned, fit), (avatar,),
        ),
        Step(
            "repose",
            ("bodystream", "repose", str(avatar), "--motion", str(fit / "motion.bvh"), "--out", f"{reposed}/%04d.ply",
             "--sheet", str(folder / "sheet.png"), "--report", str(folder / "repose.json")),
            (avatar, fit), (reposed, folder / "sheet.png", folder / "repose.json"),
        ),
    ]  # fmt: skip


def judged(folder: Path, source: str) -> dict[str, float]:
    """Figures against the truth; pictures are put into the folder."""
    from chain_truth import ChainFiles, figures, pictures, soles_lift_m
    from make_pictures import save

    soles_m = soles_lift_m(folder / "me", folder / "fit" / "motion.bvh")
    files = ChainFiles(source, folder / "capture", folder / "fit", folder / "reposed", soles_m)
    for name, picture in pictures(files).items():
        save(picture, name, folder / "pictures", MAX_BYTES)
    return figures(files)


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="From a camera to one's own avatar, on the synthetic camera, with figures against its truth."
    )
    parser.add_argument("--out", type=Path, default=Path("chain"), help="folder of all that is made")
    parser.add_argument("--json", type=Path, help="file of the figures; default: figures.json in --out")
    parser.add_argument("--bundle", action="append", default=[], metavar="body=PATH", help="an embedding of your own")
    parser.add_argument("--source", default=SOURCE, help="the synthetic camera and its keys")
    parser.add_argument("--frames", type=int, default=600, help="of the camera")
    parser.add_argument("--registered", type=int, default=40, help="key frames that get a body, at most")
    parser.add_argument("--steps", type=int, default=1500, help="of the avatar's training")
    parser.add_argument("--train", default="", metavar="WORDS", help="more options of the training, in quotes")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    folder = options.out.absolute()
    file = options.json or folder / "figures.json"
    try:
        if options.source.partition("?")[0].partition(":")[0] != "synthetic":
            raise ConfigurationError(f"only the synthetic camera knows its true surface, got --source {options.source}")
        prepare_folder(folder, "--out")
        check_output(file, "--json")
        seconds = run_steps(steps_of(folder, options), folder, lambda line: print(line, file=sys.stderr, flush=True))
        print("comparing with the truth, and drawing", file=sys.stderr, flush=True)
        found = judged(folder, options.source)
        whole = sum(seconds.values())
        told = {"seconds": seconds, "shares": {name: taken / whole for name, taken in seconds.items()}, **found}
        with atomic_path(file) as waiting:
            waiting.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    except StepError as error:
        print(f"chain: {error}", file=sys.stderr)
        return error.code
    except BodystreamError as error:
        print(f"chain: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("chain: stopped; the same command goes on from there", file=sys.stderr)
        return 130
    for name, taken in seconds.items():
        print(f"{name:8} {taken:6.0f} s  {100 * taken / whole:3.0f} %")
    print(f"registered bodies {found['registered_mm']:.1f} mm from the truth, the fitted body {found['plain_mm']:.1f}")
    print(
        f"held-out frames: avatar {found['avatar_held_out_mm']:.1f} mm, fitted body {found['plain_held_out_mm']:.1f} mm"
    )
    print(f"figures: {file}; pictures: {folder / 'pictures'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
