"""The shipped sampler's contract, whatever its weights are, and bundles that are not one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.bundles import Bundle, find_bundle, open_bundle, sha256_of
from bodystream.errors import BundleError, ConfigurationError
from bodystream.pose.features import POSE_SIZE
from bodystream.pose.observation import History
from bodystream.pose.sampler import GRAPH, MAX_HYPOTHESES, PoseSampler, Samples
from bodystream.types import Array
from helpers.headset_motions import person, walking
from helpers.needs import needs

SAME_DEG = 0.5
"""Mean over joints. The graph multiplies in 8 bits with one scale for all hypotheses of a step, so that the others
change the last bits of the first one; the export accepts the same difference from PyTorch."""
_FIELDS = ("vectors", "log_likelihood", "spread", "contacts")


@pytest.fixture(scope="module")
def sampler() -> PoseSampler:
    return PoseSampler(provider="cpu", threads=1)


@pytest.fixture(scope="module")
def several() -> PoseSampler:
    return PoseSampler(hypotheses=5, provider="cpu", threads=1)


def observations(sampler: PoseSampler, count: int = 4) -> list[Array]:
    """Of somebody who walks."""
    from bodystream.pose.features import DEVICES
    from bodystream.pose.observation import JointTargets

    clip, history = walking(1.0), History(sampler.features)
    positions, rotations = clip.joints()
    out = []
    for k in range(len(clip)):
        joints = list(DEVICES)
        history.add(JointTargets(k * 11_111_111, positions[k, joints], rotations[k, joints], np.ones(3, bool)))
        if k % (len(clip) // count) == 0:
            out.append(history.features(clip.skeleton.stature_m)[0])
    return out


def taken(samples: Samples) -> dict[str, Array]:
    """Copies: the arrays are the sampler's own."""
    return {name: np.copy(getattr(samples, name)) for name in _FIELDS}


def apart_deg(first: Array, second: Array) -> float:
    """Mean over joints of how far two small-angle poses are turned from each other."""
    turns = Rotation.from_rotvec(first.reshape(-1, 3)).inv() * Rotation.from_rotvec(second.reshape(-1, 3))
    return float(np.degrees(turns.magnitude()).mean())


def copied(folder: Path, **changes: object) -> Path:
    """The shipped bundle's folder elsewhere, with other values in its manifest."""
    shutil.copytree(find_bundle("pose").place, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))
    return folder


def foreign_graph(folder: Path, inputs: dict[str, list], outputs: dict[str, list]) -> Bundle:
    """A pose bundle whose graph has these shapes and does nothing but repeat constants."""
    onnx = needs("onnx", "pip install 'bodystream[export]'")
    from onnx import TensorProto, helper, numpy_helper

    def info(shapes: dict[str, list]) -> list:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.zeros(shape, np.float32)))
        for name, shape in outputs.items()
    ]
    graph = helper.make_graph(constants, "foreign", info(inputs), info(outputs))
    copied(folder)
    path = folder / GRAPH
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )
    assert onnx.load(path).graph.name == "foreign"
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"] = [{"path": GRAPH, "sha256": sha256_of(path), "bytes": path.stat().st_size}]
    content["graphs"] = {
        GRAPH: {
            "inputs": {name: {"shape": shape} for name, shape in inputs.items()},
            "outputs": {name: {"shape": shape} for name, shape in outputs.items()},
        }
    }
    manifest.write_text(json.dumps(content))
    return open_bundle(folder)


def test_shapes_and_meaning_of_the_answer(several: PoseSampler) -> None:
    several.set_person(person())
    for observation in observations(several):
        samples = several.step(observation)
        assert samples.vectors.shape == (5, POSE_SIZE) and samples.log_likelihood.shape == (5,)
        assert samples.spread.shape == (POSE_SIZE,) and samples.contacts is not None
        assert all(getattr(samples, name).dtype == np.float32 for name in _FIELDS)
        assert all(np.isfinite(getattr(samples, name)).all() for name in _FIELDS)
        assert (samples.spread > 0).all() and ((samples.contacts >= 0) & (samples.contacts <= 1)).all()
        assert np.linalg.norm(samples.vectors.reshape(5, -1, 3), axis=-1).max() < 2 * np.pi


def test_the_manifest_says_what_the_network_sees_and_whom_it_has_seen(sampler: PoseSampler) -> None:
    manifest = json.loads((find_bundle("pose").place / "manifest.json").read_text())
    assert sampler.features.history_s == tuple(manifest["history_s"])
    assert sampler.trained_on == tuple(manifest["trained_on"])
    assert sampler.bundle.manifest.kind == "pose-sampler" and sampler.engine.provider == "cpu"
    assert sampler.engine.inputs["observation"].shape == (1, 3, sampler.features.token_size)


def test_the_same_observation_gives_the_same_answer(sampler: PoseSampler) -> None:
    sampler.set_person(person())
    first, second = observations(sampler, 2)[:2]
    before = taken(sampler.step(first))
    other = taken(sampler.step(second))
    again = taken(sampler.step(first))
    for name in _FIELDS:
        np.testing.assert_array_equal(again[name], before[name])
    assert not np.array_equal(other["vectors"], before["vectors"])  # it does look at what it is shown


def test_the_person_counts(sampler: PoseSampler) -> None:
    observation = observations(sampler, 1)[0]
    sampler.set_person(person())
    before = taken(sampler.step(observation))
    offsets = person().offsets_m.copy()
    offsets[[4, 5, 7, 8]] *= 1.15  # longer legs
    sampler.set_person(type(person())(offsets))
    assert not np.array_equal(sampler.step(observation).vectors, before["vectors"])
    sampler.set_person(person())
    np.testing.assert_array_equal(sampler.step(observation).vectors, before["vectors"])


def test_the_first_hypothesis_is_what_a_single_one_is(sampler: PoseSampler, several: PoseSampler) -> None:
    for sampler_of_any in (sampler, several):
        sampler_of_any.set_person(person())
    for observation in observations(sampler):
        alone, many = taken(sampler.step(observation)), taken(several.step(observation))
        assert apart_deg(many["vectors"][0], alone["vectors"][0]) < SAME_DEG
        assert abs(many["log_likelihood"][0] - alone["log_likelihood"][0]) < 2.0
        np.testing.assert_allclose(many["spread"], alone["spread"], rtol=1e-3)
        assert np.abs(many["vectors"][1:] - many["vectors"][0]).max(axis=1).min() > 1e-3


def test_the_seed_decides_on_the_draws_and_they_stay(several: PoseSampler) -> None:
    observation = observations(several, 1)[0]
    several.set_person(person())
    before = taken(several.step(observation))
    for seed, same in ((0, True), (1, False)):
        other = PoseSampler(hypotheses=5, provider="cpu", threads=1, seed=seed)
        other.set_person(person())
        other.step(observation)  # a draw per step would show in the second one
        vectors = other.step(observation).vectors
        assert np.array_equal(vectors, before["vectors"]) is same
        assert apart_deg(vectors[0], before["vectors"][0]) < SAME_DEG


def test_arrays_are_reused(sampler: PoseSampler) -> None:
    first, second = observations(sampler, 2)[:2]
    one = sampler.step(first)
    assert sampler.step(second).vectors is one.vectors


@pytest.mark.parametrize("hypotheses", [0, -1, MAX_HYPOTHESES + 1])
def test_numbers_of_hypotheses_out_of_range_are_refused(hypotheses: int) -> None:
    with pytest.raises(ConfigurationError, match=f"hypotheses must be 1 to {MAX_HYPOTHESES}, got {hypotheses}"):
        PoseSampler(hypotheses=hypotheses)


def test_the_largest_number_of_hypotheses_works() -> None:
    sampler = PoseSampler(hypotheses=MAX_HYPOTHESES, provider="cpu", threads=1)
    sampler.set_person(person())
    assert sampler.step(observations(sampler, 1)[0]).vectors.shape == (MAX_HYPOTHESES, POSE_SIZE)


def test_a_bundle_of_another_kind_is_refused() -> None:
    with pytest.raises(BundleError, match=r"'person' \(.*\) is of the kind 'skinned-body', not 'pose-sampler'"):
        PoseSampler(find_bundle("person"))


def test_a_manifest_without_the_history_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path / "pose", history_s=None)
    with pytest.raises(BundleError, match=r"none of a bundle of the kind 'pose-sampler': .*history_s"):
        PoseSampler(open_bundle(folder))


@pytest.mark.parametrize("history", [[0.1, 0.05], [-1.0], [0.0]])
def test_a_history_that_makes_no_sense_is_refused(tmp_path: Path, history: list[float]) -> None:
    folder = copied(tmp_path / "pose", history_s=history)
    with pytest.raises(BundleError, match="ascending positive ages"):
        PoseSampler(open_bundle(folder))


def test_a_history_that_is_not_the_graphs_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path / "pose", history_s=[0.1])
    with pytest.raises(
        BundleError, match=r"the input 'observation' is float32 \(1, 3, 55\), bodystream wants float32 \(1, 3, 19\)"
    ):
        PoseSampler(open_bundle(folder), provider="cpu")


def test_a_damaged_graph_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path / "pose")
    with (folder / GRAPH).open("r+b") as stream:
        stream.seek(100_000)
        stream.write(b"damage")
    with pytest.raises(BundleError, match=r"sampler\.onnx has the sha256"):
        open_bundle(folder)


def test_a_missing_bundle_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bodystream.bundles import locate

    monkeypatch.setattr(locate, "_SHIPPED", tmp_path)
    monkeypatch.delenv(locate.ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(BundleError, match="there is no bundle 'pose'"):
        PoseSampler()


INPUTS = {"observation": [1, 3, 55], "beta": [1, 10], "noise": [1, 66]}
OUTPUTS = {"pose": [1, 66], "log_likelihood": [1], "spread": [66], "contacts": [2]}


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        (INPUTS | {"beta": [1, 16]}, OUTPUTS, r"'beta' is float32 \(1, 16\), bodystream wants float32 \(1, 10\)"),
        ({n: INPUTS[n] for n in ("observation", "beta")}, OUTPUTS, "no input 'noise', bodystream wants"),
        (INPUTS, {n: s for n, s in OUTPUTS.items() if n != "contacts"}, "no output 'contacts', bodystream wants"),
        (INPUTS, OUTPUTS | {"pose": [1, 132]}, r"'pose' is float32 \(1, 132\), bodystream wants float32 \(1, 66\)"),
    ],
)
def test_a_graph_of_other_shapes_is_refused_at_load(tmp_path: Path, inputs: dict, outputs: dict, said: str) -> None:
    bundle = foreign_graph(tmp_path / "pose", inputs, outputs)
    with pytest.raises(BundleError, match=said):
        PoseSampler(bundle, provider="cpu")


def test_a_graph_of_the_right_shapes_is_taken(tmp_path: Path) -> None:
    """So that the refusals above are about what they say."""
    sampler = PoseSampler(foreign_graph(tmp_path / "pose", INPUTS, OUTPUTS), provider="cpu")
    assert not sampler.step(np.zeros((3, 55))).vectors.any()
