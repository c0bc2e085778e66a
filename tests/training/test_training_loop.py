"""The loop against a plain one written out here; stopping, going on, two processes, and what it writes."""

from __future__ import annotations

import inspect
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")

from bodystream.errors import ConfigurationError, InputError  # noqa: E402
from bodystream_training.checkpoints import load_checkpoint, save_checkpoint  # noqa: E402
from bodystream_training.devices import open_fabric  # noqa: E402
from bodystream_training.interrupts import noted_interrupts  # noqa: E402
from bodystream_training.loop import LoopConfig, Trainer, _readable  # noqa: E402
from bodystream_training.options import DeviceOptions  # noqa: E402
from helpers import toy_task  # noqa: E402
from helpers.command_line import environment  # noqa: E402
from helpers.toy_task import CONFIG, Toy  # noqa: E402

STEPS = 6 * 40 // 12


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trainer(path: Path, *, config: LoopConfig = CONFIG, precision: str = "bf16", **options: object) -> Trainer:
    fabric = open_fabric(DeviceOptions(accelerator="cpu", precision=precision))  # type: ignore[arg-type]
    return Trainer(lambda _: Toy(), path, config, fabric=fabric, **options)  # type: ignore[arg-type]


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path)[0]


def assert_same_bits(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    different = [name for name, value in wanted.items() if not torch.equal(found[name], value)]
    assert different == []


def plain_training(config: LoopConfig, steps: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The same in nothing but PyTorch: losses of all steps, and the averaged weights."""
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    task = Toy()
    adam = torch.optim.Adam(task.model.parameters(), lr=config.learning_rate, fused=True)
    average = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    losses: list[float] = []
    while len(losses) < steps:
        order = torch.randperm(40, generator=generator)
        for start in range(0, 40 - 12 + 1, 12):
            step = len(losses)
            warm = min(1.0, (step + 1) / min(200, 1 + steps // 10))
            falling = 0.02 + 0.98 * (1 + math.cos(math.pi * (step / steps))) / 2
            adam.param_groups[0]["lr"] = config.learning_rate * warm * falling
            batch = task.batch(order[start : start + 12], generator)
            with torch.autocast("cpu", torch.bfloat16):
                total = task.terms(batch, step / steps)["total"]
            adam.zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_(task.model.parameters(), 100.0)
            adam.step()
            for name, tensor in task.model.state_dict().items():
                average[name].lerp_(tensor, 1.0 - min(config.average, (1 + step) / (10 + step)))
            losses.append(float(total.detach()))
            if len(losses) == steps:
                break
    return losses, average


def test_a_training_that_is_to_end_sooner_falls_to_the_same_rate(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"

    def rates(until: int | None, **options: object) -> list[float]:
        found, seen = trainer(path, **options), []

        def look(step: int, of: int, terms: dict[str, float]) -> None:
            seen.append(found._optimiser.param_groups[0]["lr"])
            if step == until:
                os.kill(os.getpid(), signal.SIGINT)

        found.run(look)
        return seen

    planned = rates(None)
    path.unlink()
    begun = rates(6)
    rest = rates(9, end_at=12)  # told once, and gone on with
    with pytest.raises(ConfigurationError, match=r"has done 9 of 20 steps: .* not at 30"):
        trainer(path, end_at=30)
    last = rates(None)
    assert len(begun) == 6 and len(rest) == 3 and len(last) == 3 and load_checkpoint(path)[1]["steps"] == 12
    assert begun == planned[:6]
    warm = [min(1.0, (step + 1) / 3) for step in range(20)]
    fallen = [0.02 + 0.98 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)]
    wanted = [fallen[6] * (1 + math.cos(math.pi * step / 6)) / 2 + 0.02 * (1 - math.cos(math.pi * step / 6)) / 2
              for step in range(6)]  # fmt: skip
    assert [*rest, *last] == pytest.approx([CONFIG.learning_rate * rate for rate in wanted])
    assert planned == pytest.approx([CONFIG.learning_rate * a * b for a, b in zip(warm, fallen, strict=True)])


def test_a_network_needs_less_than_sixty_lines() -> None:
    assert len(inspect.getsource(Toy).splitlines()) < 60


def test_it_is_the_plain_loop_bit_by_bit(tmp_path: Path) -> None:
    losses: list[float] = []
    found = trainer(tmp_path / "toy.safetensors")
    assert found.steps == STEPS and found.run(lambda *step: losses.append(step[2]["total"]))
    wanted, average = plain_training(CONFIG, STEPS)
    assert losses == wanted and losses[-1] < 0.7 * losses[0]
    assert_same_bits(found.average, average)
    log = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [entry["step"] for entry in log] == [STEPS] and log[0]["total"] == round(wanted[-1], 4)
    assert found.last_logged("validation_error") == log[0]["validation_error"] < 2.0
    assert found.last_logged("nothing") is None


@pytest.mark.parametrize("stopped", [1, 3, 4], ids=["in a round", "at its end", "in the second one"])
def test_going_on_gives_the_same_bits_as_never_stopping(tmp_path: Path, stopped: int) -> None:
    trainer(tmp_path / "whole.safetensors").run()

    def interrupt(step: int, *_: object) -> None:
        if step == stopped:
            os.kill(os.getpid(), signal.SIGINT)

    path = tmp_path / "parts.safetensors"
    assert not trainer(path).run(interrupt)
    torch.randn(5)  # whatever else draws meanwhile
    again = trainer(path)
    assert again.step == stopped and again.run()
    assert_same_bits(tensors_of(path), tensors_of(tmp_path / "whole.safetensors"))


class ToyAhead(Toy):
    """Its batches are made on two threads."""

    loaders = 2


@pytest.mark.parametrize("stopped", [1, 3, 4], ids=["in a round", "at its end", "in the second one"])
def test_batches_made_ahead_are_the_same_after_a_stop(tmp_path: Path, stopped: int) -> None:
    def ahead(path: Path) -> Trainer:
        return Trainer(lambda _: ToyAhead(), path, CONFIG, fabric=open_fabric(DeviceOptions(accelerator="cpu")))

    ahead(tmp_path / "whole.safetensors").run()
    path = tmp_path / "parts.safetensors"
    first = ahead(path)
    assert not first.run(lambda step, *_: os.kill(os.getpid(), signal.SIGINT) if step == stopped else None)
    again = ahead(path)
    assert again.step == stopped and again.run()
    assert_same_bits(tensors_of(path), tensors_of(tmp_path / "whole.safetensors"))


def test_what_fails_on_a_loading_thread_fails_the_training(tmp_path: Path) -> None:
    class Broken(ToyAhead):
        def batch(self, index: torch.Tensor, generator: torch.Generator) -> object:
            raise InputError("the third pair is damaged")

    with pytest.raises(InputError, match="third pair"):
        Trainer(lambda _: Broken(), tmp_path / "x.safetensors", CONFIG, fabric=open_fabric()).run()


def test_a_checkpoint_of_before_is_resumed(tmp_path: Path) -> None:
    """Those of earlier versions say neither precision nor processes, nor where in a round they were."""
    path = tmp_path / "toy.safetensors"
    first = trainer(path)
    first.run(lambda step, *_: os.kill(os.getpid(), signal.SIGINT) if step == 5 else None)
    tensors, facts = load_checkpoint(path)
    for name in ("precision", "processes", "position", "scaler"):
        del facts[name]
    del tensors["round_generator"]
    save_checkpoint(path, tensors, facts)
    again = trainer(path)
    assert again.step == 5 and again.run() and load_checkpoint(path)[1]["position"] > 0


def test_two_processes_average_their_gradients_and_stop_together(tmp_path: Path) -> None:
    """Each takes half of every batch: the same network comes out as of one that takes the whole.

    An interrupt of one stops both at the same step, and they go on to the same bits as without it.
    """
    root = Path(__file__).resolve().parents[2]
    folders = [str(root / name) for name in ("runtime", "training", "tests")]
    done = subprocess.run(
        [sys.executable, toy_task.__file__, str(tmp_path)],
        env={**environment(), "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert_same_bits(tensors_of(tmp_path / "parts.safetensors"), tensors_of(tmp_path / "whole.safetensors"))
    fabric = open_fabric(DeviceOptions(accelerator="cpu", precision="fp32"))
    alone = Trainer(lambda _: Toy(0.0, 0.0), tmp_path / "one.safetensors", CONFIG, fabric=fabric)
    assert alone.run()
    (two, said), (one, _) = (load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("two", "one"))
    assert said["processes"] == 2 and said["step"] == STEPS and two["generator"].shape[0] == 2
    for name in one:
        if name.startswith(("model/", "average/")):
            torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=0)
    log = [json.loads((tmp_path / f"{name}.jsonl").read_text(encoding="utf-8")) for name in ("two", "one")]
    assert log[0]["total"] == pytest.approx(log[1]["total"], abs=2e-4)
    with pytest.raises(ConfigurationError, match=r"other settings \(processes: 2, now 1\)"):
        Trainer(lambda _: Toy(0.0, 0.0), tmp_path / "two.safetensors", CONFIG, fabric=fabric)


def test_the_board_says_what_the_log_says(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    trainer(tmp_path / "toy.safetensors", tensorboard=True).run()
    (path,) = (tmp_path / "tensorboard" / "toy").iterdir()
    found, data = {}, path.read_bytes()
    while data:  # records: length (8 bytes), its checksum (4), an event, its checksum (4)
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
        data = data[16 + size :]
    log = json.loads((tmp_path / "toy.jsonl").read_text(encoding="utf-8"))
    assert found.keys() == {"total", "error", "validation_error"}
    for name, (step, value) in found.items():
        assert step == STEPS and value == pytest.approx(log[name], abs=1e-6)


def test_another_precision_is_another_result(tmp_path: Path) -> None:
    ends = {}
    for precision in ("bf16", "fp32"):
        trainer(tmp_path / f"{precision}.safetensors", precision=precision).run()
        ends[precision] = tensors_of(tmp_path / f"{precision}.safetensors")
    name = "average/0.weight"
    assert not torch.equal(ends["bf16"][name], ends["fp32"][name])
    torch.testing.assert_close(ends["bf16"][name], ends["fp32"][name], atol=0.05, rtol=0)
    with pytest.raises(ConfigurationError, match=r"other settings \(precision: bf16-mixed, now 32-true\)"):
        trainer(tmp_path / "bf16.safetensors", precision="fp32")


@pytest.mark.parametrize(("units", "wanted"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_processor_computes_in_16_bits_where_it_has_units_for_it(
    units: bool, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: units)
    fabric = open_fabric(DeviceOptions(accelerator="cpu", precision="auto"))
    assert fabric.strategy.precision.precision == wanted


def test_the_second_interrupt_quits_and_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), noted_interrupts() as seen:
        os.kill(os.getpid(), signal.SIGINT)
        assert seen == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before
    found: list[list[int]] = []

    def elsewhere() -> None:
        with noted_interrupts() as seen:
            found.append(seen)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [[]], "a thread that gets no signals trains all the same"


def test_what_cannot_be_trained_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, said in (
        ({"epochs": 0}, "epochs of a training must be at least 1, got 0"),
        ({"batch": 0}, "batch of a training"),
        ({"learning_rate": 0.0}, "learning rate must be above 0"),
        ({"learning_rate": math.nan}, "learning rate must be above 0"),
        ({"average": 1.0}, r"must lie in \[0, 1\)"),
        ({"seed": -1}, "the seed"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            LoopConfig(**wrong)
    path = tmp_path / "toy.safetensors"
    with pytest.raises(InputError, match="diverged at step 1 .*lower --learning-rate"):
        broken = trainer(path)
        broken.task.y[:] = math.nan
        broken.run()
    assert not path.exists(), "the last checkpoint is not replaced by a broken one"
    trainer(path).run()
    tensors, facts = load_checkpoint(path)
    save_checkpoint(path, {k: v[:1] if k == "model/0.weight" else v for k, v in tensors.items()}, facts)
    with pytest.raises(InputError, match="is of another network than this one"):
        trainer(path)
    with pytest.raises(ConfigurationError, match="--devices must be at least 1, got 0"):
        DeviceOptions(devices=0)
    with pytest.raises(ConfigurationError, match="--num-nodes must be at least 1"):
        DeviceOptions(num_nodes=-1)
    with pytest.raises(ConfigurationError, match="does not train in fp16"):
        open_fabric(DeviceOptions(accelerator="cpu", precision="fp16"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="2 graphics cards was asked for, PyTorch .* sees 0"):
        open_fabric(DeviceOptions(accelerator="cuda", devices=2))


@pytest.mark.parametrize(
    ("value", "written"),
    [(12.345678, 12.3457), (0.123456, 0.1235), (-0.000016234, -0.0000162), (0.0, 0.0), (float("inf"), float("inf"))],
)
def test_a_small_term_is_no_zero_in_the_log(value: float, written: float) -> None:
    assert _readable(value) == written
