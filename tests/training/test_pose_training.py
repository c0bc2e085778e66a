"""Training end to end on made-up motions: examples, losses, resuming, and that it learns."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.errors import ConfigurationError, InputError  # noqa: E402
from bodystream.geometry.motion import MotionClip  # noqa: E402
from bodystream.geometry.skeleton import Skeleton  # noqa: E402
from bodystream.pose.features import FeatureConfig, beta_of_skeleton  # noqa: E402
from bodystream_training.checkpoints import load_checkpoint, save_checkpoint  # noqa: E402
from bodystream_training.devices import open_fabric  # noqa: E402
from bodystream_training.loop import Trainer  # noqa: E402
from bodystream_training.options import DeviceOptions  # noqa: E402
from bodystream_training.pose.batches import Augmentation, collate, remounted  # noqa: E402
from bodystream_training.pose.data import build_examples, foot_contacts, reproportioned  # noqa: E402
from bodystream_training.pose.losses import joint_positions  # noqa: E402
from bodystream_training.pose.model import FlagConfig, PoseFlow  # noqa: E402
from bodystream_training.pose.networks import Stage, chosen_sizes, load_model  # noqa: E402
from bodystream_training.pose.splits import split_of  # noqa: E402
from bodystream_training.pose.train import TrainConfig, pose_trainer  # noqa: E402
from bodystream_training.rotations import composed, rotation_matrices  # noqa: E402
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


SIZES = FlagConfig(token_size=FEATURES.token_size, hidden=32, width=32, layers=1, heads=4, feed_forward=32, groups=4,
                   categories=8)  # fmt: skip


def config(**changes: object) -> TrainConfig:
    return TrainConfig(**({"epochs": 20, "batch": 64, "learning_rate": 2e-3} | changes))  # type: ignore[arg-type]


def small(folder: Path, stage: Stage, settings: TrainConfig, examples, **options: object) -> Trainer:
    """A trainer of small networks, on the processor, whatever there is."""
    fabric = open_fabric(DeviceOptions(accelerator="cpu"))
    return pose_trainer(folder, stage, settings, FEATURES, examples, examples, sizes=SIZES, fabric=fabric, **options)  # type: ignore[arg-type]


def test_examples_repeat_the_motion_they_are_cut_from(examples) -> None:
    batch = collate(examples, torch.arange(len(examples)), torch.Generator())
    joints = joint_positions(batch.pose, batch.offsets)
    truth = batch.states[:, :, :3] - batch.states[:, 15:16, :3]
    assert (joints - truth).abs().max() < 2e-3  # examples are stored in 16 bits
    assert examples.base == 2 * 80


def test_people_who_stand_upright_are_cut_twice_as_often() -> None:
    """A second at 60 Hz gives 20 examples, as it is and mirrored; of one leg, in the air, on the floor no more."""
    still = np.zeros((60, 22, 4), np.float32)
    still[..., 3] = 1.0
    skeleton = person()
    root = np.tile(np.array([0, skeleton.pelvis_height_m, 0], np.float32), (60, 1))
    standing = MotionClip("standing", "anna", 60.0, skeleton, still, root)
    lifted = still.copy()
    lifted[:, 1] = (-0.5, 0, 0, 0.75**0.5)  # the left thigh forward and up
    cases = {"standing": standing, "lifted": replace(standing, rotations_xyzw=lifted),
             "floating": replace(standing, root_positions_m=root + np.float32([0, 0.3, 0])),
             "sunk": replace(standing, root_positions_m=root - np.float32([0, 0.3, 0]))}  # fmt: skip
    found = {name: len(build_examples([clip], FEATURES, variants=2)) for name, clip in cases.items()}
    assert found == {"standing": 40 + 38, "lifted": 40, "floating": 40, "sunk": 40}
    assert len(build_examples([standing], FEATURES, variants=1)) == 20


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


def test_composed_rotations_agree_with_scipy() -> None:
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1.5, (2, 60, 3))
    first[0], second[1] = 0.0, 0.0
    second[2] = -first[2]  # together nothing
    first[3], second[3] = (0, np.pi - 1e-3, 0), (0, 2e-3, 0)  # across half a turn
    got = composed(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    expected = (Rotation.from_rotvec(first) * Rotation.from_rotvec(second)).as_rotvec()
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_a_remounted_motion_is_that_of_a_rig_with_other_ends() -> None:
    """Against examples of a clip whose head and wrists were turned before anything was made of it."""
    from scipy.spatial.transform import Rotation

    from bodystream.pose.features import DEVICES

    clip, vectors = wobble(5), np.array([[0.2, -0.1, 0.05], [0.1, 0.3, -0.2], [-0.15, 0.1, 0.25]])
    # a head that looks half round and a turned person, so that the heading matters
    clip = clip.moved(1.0, np.array([0.5, 0.0, -0.3]))
    matrices = clip.rotation_matrices()
    matrices[:, list(DEVICES)] = matrices[:, list(DEVICES)] @ Rotation.from_rotvec(vectors).as_matrix()
    xyzw = Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_quat().reshape(*matrices.shape[:2], 4)
    other = replace(clip, rotations_xyzw=xyzw.astype(np.float32))
    plain, expected = (build_examples([c], FEATURES, variants=1) for c in (clip, other))
    turns = torch.from_numpy(vectors).float().expand(len(plain), 3, 3)
    observation, pose, states = remounted(
        plain.observation.float(), plain.pose.float(), plain.states.float(), turns, torch.zeros_like(turns)
    )
    torch.testing.assert_close(observation, expected.observation.float(), atol=4e-3, rtol=0)
    torch.testing.assert_close(pose, expected.pose.float(), atol=4e-3, rtol=0)
    torch.testing.assert_close(states, expected.states.float(), atol=4e-3, rtol=0)
    assert (pose - plain.pose.float()).abs().max() > 0.2


def test_a_moved_grip_turns_with_its_hand(examples) -> None:
    seen, pose, states = (getattr(examples, name)[:50].float() for name in ("observation", "pose", "states"))
    grips = torch.zeros(50, 3, 3)
    grips[:, 1, 0] = 0.1  # along the hand's own x axis, which states hold as a column
    moved, *_ = remounted(seen, pose, states, torch.zeros(50, 3, 3), grips)
    torch.testing.assert_close(moved[:, 1, :3], seen[:, 1, :3] + 0.1 * seen[:, 1, 3:6], atol=2e-3, rtol=0)
    earlier = (seen[:, 1, :9] + seen[:, 1, 10:19]).clone()
    earlier[:, :3] += 0.1 * earlier[:, 3:6]
    torch.testing.assert_close(moved[:, 1, :9] + moved[:, 1, 10:19], earlier, atol=3e-3, rtol=0)
    torch.testing.assert_close(moved[:, ::2], seen[:, ::2], atol=2e-3, rtol=0)


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


# Losses of the first steps as they were when the shipped network was trained; processors round 16 bits differently.
BEFORE = {"flow": [159.334, 163.445, 156.285, 159.591], "regressor": [106.795, 110.796, 110.356, 114.509]}


def test_every_stage_learns_as_it_always_has(examples, tmp_path: Path) -> None:
    errors = {}
    for stage in ("flow", "predictor", "joint", "regressor"):
        trainer = small(tmp_path, stage, config(), examples)
        losses: list[float] = []
        assert trainer.run(lambda s, n, terms, losses=losses: losses.append(terms["total"]))
        assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
        if stage in BEFORE:
            assert losses[:4] == pytest.approx(BEFORE[stage], rel=0.01)
        entries = [json.loads(line) for line in (tmp_path / f"{stage}.jsonl").read_text().splitlines()]
        assert entries[-1]["step"] == trainer.steps
        errors[stage] = entries[-1]["mpjpe_cm"]
    assert errors["regressor"] < 25


def test_a_stage_that_was_interrupted_gives_the_same_bits(examples, tmp_path: Path) -> None:
    """The predictor has all that is random: order, noise of the devices, dropout, the Gumbel-softmax."""
    for name in ("whole", "parts"):
        small(tmp_path / name, "flow", config(epochs=1), examples).run()
    small(tmp_path / "whole", "predictor", config(epochs=4), examples).run()
    stopped = small(tmp_path / "parts", "predictor", config(epochs=4), examples)
    assert not stopped.run(lambda step, *_: os.kill(os.getpid(), signal.SIGINT) if step == 4 else None)
    again = small(tmp_path / "parts", "predictor", config(epochs=4), examples)
    assert again.step == 4 and again.run()
    wanted, found = (load_checkpoint(tmp_path / name / "predictor.safetensors")[0] for name in ("whole", "parts"))
    assert wanted.keys() == found.keys()
    assert [name for name, value in wanted.items() if not torch.equal(value, found[name])] == []


def test_checkpoints_of_before_have_the_papers_sizes(tmp_path: Path) -> None:
    """Earlier versions knew no others and did not write them down."""
    sizes = FlagConfig(token_size=FEATURES.token_size)
    tensors = {f"average/{name}": tensor for name, tensor in PoseFlow(sizes).state_dict().items()}
    for name in ("pose", "condition"):
        size = sizes.pose_size if name == "pose" else sizes.condition_size
        tensors |= {f"normalise/{name}_mean": torch.zeros(size), f"normalise/{name}_scale": torch.ones(size)}
    path = tmp_path / "flow.safetensors"
    facts = {"stage": "flow", "features": {"history_s": list(FEATURES.history_s)}}
    save_checkpoint(path, tensors, facts)
    model, normalise, _ = load_model(path)
    assert isinstance(model, PoseFlow) and model.config == sizes and len(normalise.pose_mean) == 66
    save_checkpoint(path, tensors, facts | {"sizes": {"hidden": 32}})
    with pytest.raises(InputError, match="of another architecture"):
        load_model(path)
    save_checkpoint(path, tensors, {"stage": "flow"})
    with pytest.raises(InputError, match="of another architecture"):
        load_model(path)


def test_bad_input_is_told(examples, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train it first"):
        small(tmp_path, "predictor", config(), examples)
    with pytest.raises(ConfigurationError, match="a stage is one of flow, predictor, joint, regressor, got 'all'"):
        small(tmp_path, "all", config(), examples)  # type: ignore[arg-type]
    small(tmp_path, "flow", config(epochs=1), examples).run()
    with pytest.raises(ConfigurationError, match="other settings"):
        small(tmp_path, "flow", config(epochs=2), examples)
    with pytest.raises(InputError, match="needs a trained regressor, and .* is not there"):
        small(tmp_path, "predictor", config(), examples, flow_name="regressor")
    (tmp_path / "flow.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_model(tmp_path / "flow.safetensors")
    with pytest.raises(InputError, match="half a second"):
        build_examples([wobble(1, frames=5)], FEATURES)
    with pytest.raises(InputError, match="centimetres"):
        Skeleton(person().offsets_m * 100)


def test_sizes_are_read_and_wrong_ones_are_told() -> None:
    assert chosen_sizes((), FEATURES) == FlagConfig(token_size=FEATURES.token_size)
    words = ("hidden=32", "width=32", "layers=1", "heads=4", "feed_forward=32", "groups=4", "categories=8")
    assert chosen_sizes(words, FEATURES) == SIZES
    for wrong in (
        "hidden",
        "hidden=",
        "hidden=0",
        "hidden=-3",
        "hidden=3.5",
        "depth=3",
        "=3",
        "hidden=9999999",
        "hidden=٣",
    ):
        with pytest.raises(ConfigurationError, match="--sizes: KEY=N with a key of couplings, hidden"):
            chosen_sizes((wrong,), FEATURES)
    with pytest.raises(ConfigurationError, match="got width=30 heads=8"):
        chosen_sizes(("width=30",), FEATURES)


def test_splits_are_by_subject() -> None:
    assert split_of("cmu_02") == "test" and split_of("cmu_09") == "validation" and split_of("anybody") == "train"
    assert split_of("") == "train" and split_of("unknown_walking_extra") == "none"
