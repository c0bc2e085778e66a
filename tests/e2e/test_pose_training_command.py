"""From motion files to a bundle by the commands: train, go on, evaluate, export, and run what came out.

Networks are small here, so that a few steps take a second; all else is what users run.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
needs("safetensors", "pip install 'bodystream[train]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")

from torch.optim.optimizer import register_optimizer_step_post_hook  # noqa: E402

from bodystream.bundles import open_bundle  # noqa: E402
from bodystream.pose.sampler import PoseSampler  # noqa: E402
from bodystream_export.cli import main as export  # noqa: E402
from bodystream_training.checkpoints import load_checkpoint  # noqa: E402
from bodystream_training.cli import main as train  # noqa: E402
from helpers.command_line import environment  # noqa: E402
from helpers.headset_motions import crouching, hands_raised, walking, working  # noqa: E402
from helpers.headset_takes import write_bvh  # noqa: E402

MOTIONS = {"35_01": walking, "35_02": working, "36_01": crouching, "accad_1/lift": hands_raised}
HELD_OUT = {"09_01": working, "02_01": walking}
SIZES = ("hidden=16", "width=16", "layers=1", "heads=2", "feed_forward=16", "groups=4", "categories=8")
SETTINGS = ("--batch", "64", "--variants", "2", "--learning-rate", "1e-3", "--threads", "1", "--seed", "3",
            "--accelerator", "cpu", "--sizes", *SIZES)  # fmt: skip


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with takes of several people."""
    folder = tmp_path_factory.mktemp("workshop")
    for name, make in (MOTIONS | HELD_OUT).items():
        write_bvh(folder / "takes" / f"{name}.bvh", make(3.0), rate_hz=60.0)
    for name, make in OWN.items():
        write_bvh(folder / "own" / f"{name}.bvh", make(3.0), rate_hz=60.0)
    return folder


OWN = {"anna/walk": walking, "ben/work": working, "carla/crouch": crouching}


@pytest.fixture(autouse=True)
def bench(workshop: Path, monkeypatch: pytest.MonkeyPatch):
    """In the workshop's folder; the number of threads is given back."""
    monkeypatch.setenv("BODYSTREAM_CACHE", str(workshop / "cache"))
    monkeypatch.chdir(workshop)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def pose(*words: str) -> int:
    return train(["pose", "--data", "bvh:takes", "--out", "runs/pose", *SETTINGS, *words])


def steps_of(name: str) -> tuple[int, int]:
    _, facts = load_checkpoint(Path("runs/pose") / f"{name}.safetensors")
    return facts["step"], facts["steps"]


def test_training_stops_at_an_interrupt_and_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    taken = []

    def interrupt(*_: object) -> None:
        taken.append(1)
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    counting = register_optimizer_step_post_hook(interrupt)
    assert pose("--epochs", "3", "--leave-out", "accad_") == 130
    done, of = steps_of("flow")
    assert done == 3 < of
    said = capfd.readouterr().err
    assert f"stopped at step 3 of {of}; the same command goes on from there" in said
    assert "frames at 20 Hz to train on" in said
    assert not Path("runs/pose/predictor.safetensors").exists()

    assert pose("--epochs", "3", "--leave-out", "accad_") == 0
    counting.remove()
    assert len(taken) == 4 * of, "the three steps were not taken again"
    said = capfd.readouterr().err
    for name in ("flow", "predictor", "joint", "regressor"):
        assert steps_of(name) == (of, of) and f"{name}: runs/pose/{name}.safetensors" in said
        last = json.loads(Path(f"runs/pose/{name}.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        assert last["step"] == of and np.isfinite(last["mpjpe_cm"]) and np.isfinite(last["total"])
    facts = json.loads(Path("runs/pose/run.json").read_text(encoding="utf-8"))
    assert facts["subjects"] == ["cmu_35", "cmu_36"], "neither who was left out nor who is held out"
    assert "--sizes hidden=16 width=16" in facts["recipes"]["flow"]
    assert "--epochs 3" in facts["recipes"]["flow"] and "--leave-out accad_" in facts["recipes"]["flow"]
    # Examples are made once per choice of data.
    assert len(list(Path("runs/examples").glob("*.safetensors"))) == 2


def test_other_settings_do_not_resume(capfd: pytest.CaptureFixture[str]) -> None:
    before = Path("runs/pose/run.json").read_text(encoding="utf-8")
    assert pose("--epochs", "4", "--leave-out", "accad_", "--stages", "flow") == 2
    assert "was begun with other settings (config" in capfd.readouterr().err
    assert pose("--epochs", "3", "--stages", "flow") == 2
    assert "was begun with other settings (data" in capfd.readouterr().err
    assert Path("runs/pose/run.json").read_text(encoding="utf-8") == before, "nothing was trained"
    assert steps_of("flow")[0] == steps_of("flow")[1]


@pytest.mark.timeout(900)  # eight estimators, on a machine that may be busy
def test_a_trained_run_is_evaluated(capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        train(["eval", "pose", "--data", "bvh:takes", "--run", "runs/pose", "--excerpt-s", "1.1", "9", "--json"]) == 0
    )
    table = json.loads(capfd.readouterr().out)
    assert set(table["baselines"]) >= {"mu_H, network alone", "z = 0, network alone", "least_squares_ik"}
    assert any(name.startswith("regressor") for name in table["baselines"])
    assert any(name.startswith("nearest") for name in table["baselines"])
    assert [clip["subject"] for clip in table["clips"]] == ["cmu_02"], "the test subject and nobody else"
    for row in (table["model"], *table["baselines"].values()):
        assert np.isfinite(row["mpjpe_cm"]) and row["mpjpe_cm"] > 0
    assert table["model"]["head_error_cm"] < 0.5, "refinement does not need a good network"
    assert set(table["every_frame"]) == {"mu_H", "z = 0", "z = 0, before joint training", "regressor"}
    for row in table["every_frame"].values():
        assert 0 < row["mpjpe_upper_cm"] < 60 and 0 < row["mpjpe_cm"] < 60 and 0 < row["mpjre_deg"] < 180
    assert 0 <= table["likelihood_auc"] <= 1 and 0 <= table["invariance_cm"] < 0.1


def test_ones_own_people_are_trained_validated_and_tested(capfd: pytest.CaptureFixture[str]) -> None:
    """Subjects by their folders, none of them CMU's."""
    words = ["pose", "--data", "bvh:own", "--out", "runs/own", *SETTINGS, "--epochs", "3", "--json"]
    stages = ["--stages", "flow", "predictor"]
    assert train([*words, *stages, "--validation", "ben", "--test", "carla"]) == 0
    said = capfd.readouterr()
    done = json.loads(said.out)
    assert done["finished"] and list(done["stages"]) == ["flow", "predictor"] and done["out"] == "runs/own"
    for name, stage in done["stages"].items():
        assert stage["step"] == stage["steps"] > 0 and 0 < stage["mpjpe_cm"] < 200 and Path(stage["file"]).is_file()
        assert (
            f"{name}: {stage['file']} ({stage['steps']} steps in" in said.err
            and "off on validation subjects" in said.err
        )
    assert "2 stages trained in" in said.err
    facts = json.loads(Path("runs/own/run.json").read_text(encoding="utf-8"))
    assert facts["subjects"] == ["anna"] and facts["splits"] == {"test": ["carla"], "validation": ["ben"]}
    assert "--validation ben" in facts["recipes"]["flow"] and "--test carla" in facts["recipes"]["flow"]
    # A later stage that would have seen the validation's people does not go with the earlier ones.
    assert train([*words, "--stages", "joint", "--validation", "anna", "--test", "carla"]) == 2
    assert "was begun with other splits (validation ben; test carla)" in capfd.readouterr().err
    assert train([*words, *stages, "--validation-share", "0.3", "--test-share", "0.3", "--out", "runs/drawn"]) == 0
    drawn = json.loads(Path("runs/drawn/run.json").read_text(encoding="utf-8"))
    assert sorted([*drawn["subjects"], *drawn["splits"]["test"], *drawn["splits"]["validation"]]) == [
        "anna",
        "ben",
        "carla",
    ]
    # Evaluation and export know whom the run left out.
    capfd.readouterr()
    options = ["--run", "runs/own", "--no-neighbours", "--excerpt-s", "1.1", "9", "--json"]
    assert train(["eval", "pose", "--data", "bvh:own", *options]) == 0
    said = capfd.readouterr()
    assert [clip["subject"] for clip in json.loads(said.out)["clips"]] == ["carla"]
    assert "estimators on 1 clips of 1 people" in said.err
    made = ["pose", "--checkpoint", "runs/own", "--full", "--json", "--data", "bvh:own"]
    assert export(made) == 0
    written = json.loads(capfd.readouterr().out)
    assert written["out"] == "bundles/pose" and written["export_mean_deg"] < 1e-3
    assert open_bundle(Path("bundles/pose")).manifest.kind == "pose-sampler"


def test_an_export_is_the_same_network(capfd: pytest.CaptureFixture[str]) -> None:
    assert export(["pose", "--checkpoint", "runs/pose", "--out", "bundles/pose", "--full"]) == 0
    said = capfd.readouterr().err
    assert "PyTorch against the bundle" in said and re.search(r"mean_deg: .* 0\.0000 .* 0\.5 ", said)
    assert "wrote bundles/pose" in said
    bundle = open_bundle(Path("bundles/pose"))
    manifest = json.loads(Path("bundles/pose/manifest.json").read_text(encoding="utf-8"))
    assert manifest["trained_on"] == ["cmu_35", "cmu_36"]
    assert manifest["metrics"]["export_mean_deg"] < 1e-3
    assert "mocap.cs.cmu.edu" in " ".join(manifest["provenance"]["data"])
    sampler = PoseSampler(bundle, hypotheses=3)
    observation = np.zeros((3, sampler.features.token_size), np.float32)
    observation[:, 9] = 1.0
    samples = sampler.step(observation)
    assert samples.vectors.shape == (3, 66) and np.isfinite(samples.vectors).all()
    assert np.isfinite(samples.log_likelihood).all() and samples.contacts is not None

    # In 8 bits, from the motion files, with figures of an evaluation.
    Path("figures.json").write_text(json.dumps({"model": {"mpjpe_cm": 7.5, "p95": {}}}), encoding="utf-8")
    words = ["pose", "--checkpoint", "runs/pose", "--out", "bundles/pose", "--data", "bvh:takes"]
    assert export([*words, "--metrics", "figures.json", "--bundle-version", "2"]) == 0
    manifest = json.loads(Path("bundles/pose/manifest.json").read_text(encoding="utf-8"))
    assert manifest["version"] == 2 and manifest["metrics"]["mpjpe_cm"] == 7.5
    assert manifest["metrics"]["export_mean_deg"] < 0.5 and manifest["metrics"]["export_drawn_deg"] < 0.5
    assert manifest["metrics"]["export_contacts"] < 0.05
    assert sorted(path.name for path in Path("bundles/pose").iterdir()) == ["manifest.json", "sampler.onnx"]
    assert manifest["graphs"]["sampler.onnx"]["providers"].keys() >= {"cpu"}
    open_bundle(Path("bundles/pose"))

    # One file under another name, which says what it is.
    assert export([*words, "--out", "bundles/mine", "--zip"]) == 0
    assert "--bundle pose=bundles/mine.zip" in capfd.readouterr().err
    mine = open_bundle(Path("bundles/mine.zip"))
    assert (mine.manifest.name, mine.manifest.version) == ("mine", 1)
    np.testing.assert_array_equal(
        PoseSampler(mine, provider="cpu").step(observation).vectors,
        PoseSampler(open_bundle(Path("bundles/pose")), provider="cpu").step(observation).vectors,
    )

    # Measuring again replaces the times and nothing else.
    manifest["graphs"]["sampler.onnx"] |= {"providers": {"cpu": 99.0, "openvino": 1.0}, "threads": 2}
    Path("bundles/pose/manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    capfd.readouterr()
    assert export(["measure", "bundles/pose", "--runs", "3", "--json"]) == 0
    times = json.loads(capfd.readouterr().out)["p50_ms"]["sampler.onnx"]
    again = json.loads(Path("bundles/pose/manifest.json").read_text(encoding="utf-8"))
    assert 0.0 < times["cpu"] < 99.0 and again["graphs"]["sampler.onnx"]["providers"] == times
    assert again["graphs"]["sampler.onnx"]["threads"] == 2 and again["metrics"] == manifest["metrics"]
    del again["graphs"]  # of a bundle from before there were any
    Path("bundles/pose/manifest.json").write_text(json.dumps(again), encoding="utf-8")
    assert export(["measure", "bundles/pose", "--runs", "3"]) == 0
    PoseSampler(open_bundle(Path("bundles/pose")), hypotheses=2)


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (train, ["pose", "--data", "bvh:nowhere"], "nowhere is not there"),
        (train, ["pose", "--data", "bvh:takes/35_01.bvh"], "no clip of a validation subject"),
        (
            train,
            ["pose", "--data", "bvh:own"],
            "--validation NAME ... or --validation-share 0.1; subjects here: anna, ben",
        ),
        (
            train,
            ["pose", "--data", "bvh:own", "--validation", "dora"],
            "has no subject 'dora'; subjects: anna, ben, carla",
        ),
        (train, ["pose", "--data", "bvh:own", "--validation", "anna", "--validation-share", "0.5"], "not both"),
        (train, ["pose", "--data", "bvh:own", "--validation", "anna", "ben", "carla"], "nobody is left to train"),
        (
            train,
            ["pose", "--data", "bvh:takes", "--stages", "predictor", "--out", "runs/new", *SETTINGS],
            "train it first",
        ),
        (train, ["pose", "--data", "bvh:takes", "--sizes", "depth=3"], "--sizes: KEY=N with a key of couplings"),
        (train, ["pose", "--data", "bvh:takes", "--devices", "0"], "--devices must be at least 1, got 0"),
        (train, ["pose", "--data", "bvh:takes", "--batch", "0"], "batch of a training must be at least 1, got 0"),
        (
            train,
            ["pose", "--data", "bvh:takes", "--accelerator", "cpu", "--precision", "fp16"],
            "a processor does not train in fp16",
        ),
        (train, ["eval", "pose", "--data", "bvh:takes/35_01.bvh"], "no take of a test subject"),
        (train, ["eval", "pose", "--data", "bvh:takes", "--run", "runs/none"], "is not a readable checkpoint"),
        (export, ["pose", "--checkpoint", "runs/pose", "--out", "bundles/My net"], "--out must end in a bundle's name"),
        (export, ["measure", "bundles/none"], "bundles/none is no folder"),
        (export, ["pose", "--checkpoint", "runs/none", "--out", "bundles/pose"], "is not a readable checkpoint"),
    ],
)
def test_what_cannot_be_done_is_told(command, words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(words) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and said in lines[0]


@pytest.mark.parametrize(
    ("program", "words", "extra"),
    [
        ("bodystream_training", ["pose", "--data", "bvh:takes"], "train"),
        ("bodystream_training", ["eval", "pose", "--data", "bvh:takes"], "train"),
        ("bodystream_export", ["pose", "--checkpoint", "runs/pose"], "export"),
    ],
)
def test_without_the_extra_its_command_is_told(program: str, words: list[str], extra: str, workshop: Path) -> None:
    """PyTorch is hidden from a fresh process, as if it were not installed."""
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'safetensors', 'onnx'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        f"from {program}.cli import main\nsys.exit(main({words!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workshop, env=training_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: torch is needed ") and f"pip install 'bodystream[{extra}]'" in line


@pytest.mark.parametrize("program", ["bodystream_training", "bodystream_export"])
def test_help_without_waiting_for_pytorch(program: str, tmp_path: Path) -> None:
    code = (
        f"import sys\nfrom {program}.cli import main\ntry:\n    main(['pose', '--help'])\n"
        "except SystemExit as left:\n    assert not left.code\nprint('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=training_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--checkpoint" in done.stdout or "--data" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def training_environment() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    found = environment()
    return {**found, "PYTHONPATH": os.pathsep.join([found["PYTHONPATH"], str(root / "training"), str(root / "export")])}
