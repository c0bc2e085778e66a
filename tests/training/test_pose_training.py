"""Training end to end on made-up motions: examples, losses, resuming, and that it learns."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.errors import ConfigurationError, InputError  # noqa: E402
from bodystream.geometry.skeleton import Skeleton  # noqa: E402
from bodystream.pose.features import FeatureConfig, beta_of_skeleton  # noqa: E402
from bodystream_training.checkpoints import load_checkpoint  # noqa: E402
from bodystream_training.pose.batches import Augmentation, collate  # noqa: E402
from bodystream_training.pose.data import build_examples, foot_contacts, reproportioned  # noqa: E402
from bodystream_training.pose.losses import joint_positions, rotation_matrices  # noqa: E402
from bodystream_training.pose.splits import split_of  # noqa: E402
from bodystream_training.pose.train import TrainConfig, Trainer, load_model  # noqa: E402
from helpers.motions import person, wobble  # noqa: E402

FEATURES = FeatureConfig((2 / 60, 8 / 60))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these are slower on two threads, far slower where the second is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def examples():
    return build_examples([wobble(1), wobble(2)], FEATURES, variants=4)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from bodystream_training.pose import train
    from bodystream_training.pose.model import FlagConfig

    def small(**sizes: int) -> FlagConfig:
        return FlagConfig(hidden=32, couplings=16, width=32, layers=1, heads=4, feed_forward=32, groups=4, categories=8,
                          **sizes)  # fmt: skip

    monkeypatch.setattr(train, "FlagConfig", small)


def config(**changes: object) -> TrainConfig:
    return TrainConfig(**({"epochs": 20, "batch": 64, "learning_rate": 2e-3} | changes))  # type: ignore[arg-type]


def test_examples_repeat_the_motion_they_are_cut_from(examples) -> None:
    batch = collate(examples, torch.arange(len(examples)), torch.Generator())
    joints = joint_positions(batch.pose, batch.offsets)
    truth = batch.states[:, :, :3] - batch.states[:, 15:16, :3]
    assert (joints - truth).abs().max() < 2e-3  # examples are stored in 16 bits
    assert examples.base == 2 * 80 and len(examples) == 8 * 80


def test_examples_know_neither_place_nor_direction_nor_size() -> None:
    clip = wobble(3)
    far = clip.moved(np.pi, np.array([5.0, 0.0, -3.0]))
    a, b = (build_examples([c], FEATURES, variants=1) for c in (clip, far))
    torch.testing.assert_close(a.observation.float(), b.observation.float(), atol=2e-3, rtol=0)
    torch.testing.assert_close(a.pose.float(), b.pose.float(), atol=2e-3, rtol=0)
    beta = beta_of_skeleton(person())
    np.testing.assert_allclose(beta_of_skeleton(person().scaled(1.2)), beta, atol=1e-12)


def test_rodrigues_agrees_with_scipy() -> None:
    from scipy.spatial.transform import Rotation

    vectors = np.concatenate([np.random.default_rng(0).normal(0, 1, (50, 3)), np.zeros((1, 3)), np.full((1, 3), 1e-7)])
    got = rotation_matrices(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(got, Rotation.from_rotvec(vectors).as_matrix(), atol=2e-6)


def test_other_proportions_keep_the_feet_where_they_were() -> None:
    clip = wobble(4)
    other = reproportioned(clip, np.random.default_rng(1), spread=0.08)
    assert not np.allclose(other.skeleton.offsets_m, clip.skeleton.offsets_m)
    ratio = other.root_positions_m[:, 1] / clip.root_positions_m[:, 1]
    np.testing.assert_allclose(ratio, other.skeleton.pelvis_height_m / clip.skeleton.pelvis_height_m, rtol=1e-5)


def test_contacts_of_a_standing_and_a_lifted_foot() -> None:
    skeleton = person()
    still = np.tile(skeleton.rest_positions_m + (0, skeleton.pelvis_height_m, 0), (30, 1, 1))
    still[:, [5, 8, 11], 1] += 0.3  # the right leg is lifted
    assert (foot_contacts(still, 60.0, skeleton) == [True, False]).all()
    moving = still + np.linspace(0, 1, 30)[:, None, None] * np.array([1.0, 0, 0])
    assert not foot_contacts(moving, 60.0, skeleton).any()


def test_augmentation_loses_hands_and_never_the_head(examples) -> None:
    index = torch.arange(512)
    batch = collate(examples, index, torch.Generator().manual_seed(0), Augmentation(lost=0.5))
    assert batch.tracked[:, 0].all() and 0.3 < batch.tracked[:, 1:].mean() < 0.7
    hand = batch.condition[:, : 3 * FEATURES.token_size].reshape(512, 3, -1)[:, 1]
    assert (hand[batch.tracked[:, 1] == 0] == 0).all()


@pytest.mark.usefixtures("quick")
def test_every_stage_learns(examples, tmp_path: Path) -> None:
    errors = {}
    for stage in ("flow", "predictor", "joint", "regressor"):
        trainer = Trainer(tmp_path, stage, config(), FEATURES, examples, examples)
        first: list[float] = []
        assert trainer.run(lambda s, n, terms, first=first: first.append(terms["total"]))
        assert np.mean(first[-5:]) < 0.8 * np.mean(first[:5])
        entries = [json.loads(line) for line in (tmp_path / f"{stage}.jsonl").read_text().splitlines()]
        assert entries[-1]["step"] == trainer.steps
        errors[stage] = entries[-1]["mpjpe_cm"]
    assert errors["regressor"] < 25


@pytest.mark.usefixtures("quick")
def test_resuming_gives_the_same_bits_as_going_on(examples, tmp_path: Path) -> None:
    whole = Trainer(tmp_path / "a", "flow", config(epochs=4), FEATURES, examples, examples)
    whole.run()
    part = Trainer(tmp_path / "b", "flow", config(epochs=4), FEATURES, examples, examples)

    def interrupt(step: int, *_: object) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    assert not part.run(interrupt)
    again = Trainer(tmp_path / "b", "flow", config(epochs=4), FEATURES, examples, examples)
    assert again.step == 4
    # the order of examples starts anew with the process, so only states that do not depend on it are compared
    saved, facts = load_checkpoint(tmp_path / "b" / "flow.safetensors")
    for name, value in again.model.state_dict().items():
        torch.testing.assert_close(value, saved[f"model/{name}"], atol=0, rtol=0)
    assert again.run() and facts["steps"] == again.steps
    model, _, _ = load_model(tmp_path / "b" / "flow.safetensors")
    assert sum(p.numel() for p in model.parameters()) > 0


@pytest.mark.usefixtures("quick")
def test_bad_input_is_told(examples, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train it first"):
        Trainer(tmp_path, "predictor", config(), FEATURES, examples, examples)
    Trainer(tmp_path, "flow", config(epochs=1), FEATURES, examples, examples).run()
    with pytest.raises(ConfigurationError, match="other settings"):
        Trainer(tmp_path, "flow", config(epochs=2), FEATURES, examples, examples)
    (tmp_path / "flow.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_model(tmp_path / "flow.safetensors")
    with pytest.raises(InputError, match="half a second"):
        build_examples([wobble(1, frames=5)], FEATURES)
    with pytest.raises(InputError, match="centimetres"):
        Skeleton(person().offsets_m * 100)


def test_splits_are_by_subject() -> None:
    assert split_of("cmu_02") == "test" and split_of("cmu_09") == "validation" and split_of("anybody") == "train"
    assert split_of("") == "train" and split_of("unknown_walking_extra") == "none"
