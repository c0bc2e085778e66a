"""What VRM files of the wild get wrong: each is told by name, or defined; none crashes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bodystream.avatar import VrmAvatar, VrmModel
from bodystream.errors import BodystreamError, InputError
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.sinks.body_files import write_body
from bodystream.sinks.drive_take import pose_recorder
from helpers.avatar_poses import IDENTITY
from helpers.fuzzing import fuzz
from helpers.vrm_files import Glb, VrmOptions
from helpers.vrm_files import small_glb as small

OPTIONS = {"0": VrmOptions(version="0"), "1": VrmOptions(version="1")}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Glb | bytes], VrmModel]:
    def read(content: Glb | bytes) -> VrmModel:
        path = tmp_path / "me.vrm"
        path.write_bytes(content if isinstance(content, bytes) else content.bytes())
        return VrmModel(path)

    return read


def humanoid(glb: Glb) -> Any:
    extension = glb.json["extensions"]
    return (extension.get("VRMC_vrm") or extension["VRM"])["humanoid"]


def without_bones(glb: Glb, *bones: str) -> Glb:
    listed = humanoid(glb)["humanBones"]
    if isinstance(listed, dict):
        humanoid(glb)["humanBones"] = {name: bone for name, bone in listed.items() if name not in bones}
    else:
        humanoid(glb)["humanBones"] = [bone for bone in listed if bone["bone"] not in bones]
    return glb


@pytest.mark.parametrize("version", ["0", "1"])
def test_the_required_bones_that_are_missing_are_named(read: Callable[..., VrmModel], version: str) -> None:
    glb = without_bones(small(OPTIONS[version]), "leftHand", "spine", "neck")
    with pytest.raises(InputError, match=r"me\.vrm: .*required bones leftHand, spine are missing.*export"):
        read(glb)


@pytest.mark.parametrize(
    ("extensions", "said"),
    [
        ({}, "is a glTF without a humanoid: neither VRMC_vrm .VRM 1.0. nor VRM .0.x. is among its extensions"),
        ({"VRMC_vrm": {"specVersion": "1.0"}}, "is a VRM without a humanoid"),
        ({"VRM": {"humanoid": {"humanBones": []}}}, "is a VRM without a humanoid"),
        ({"VRM": {"humanoid": {"humanBones": {"hips": {"node": 1}}}}}, "is a VRM without a humanoid"),
        ({"VRMC_vrm": 7}, "is a VRM without a humanoid"),
    ],
)
def test_a_file_without_a_humanoid(read: Callable[..., VrmModel], extensions: Any, said: str) -> None:
    glb = small()
    glb.json["extensions"] = extensions
    with pytest.raises(InputError, match=said):
        read(glb)


def test_a_bone_twice_and_a_node_twice(read: Callable[..., VrmModel]) -> None:
    glb = small(OPTIONS["0"])
    humanoid(glb)["humanBones"].append({"bone": "hips", "node": 3})
    with pytest.raises(InputError, match="has the bone hips twice"):
        read(glb)
    glb = small()
    humanoid(glb)["humanBones"]["chest"] = humanoid(glb)["humanBones"]["spine"]
    with pytest.raises(InputError, match="names one node for spine and chest: assign its bones anew"):
        read(glb)
    glb = small()
    humanoid(glb)["humanBones"] |= {f"leftIndex{part}": {"node": 5} for part in ("Proximal", "Distal")}
    with pytest.raises(InputError, match="names one node for leftIndexProximal and leftIndexDistal"):
        read(glb)


def test_bones_that_hang_on_the_wrong_one(read: Callable[..., VrmModel]) -> None:
    glb = small()
    bones = humanoid(glb)["humanBones"]
    bones["leftLowerLeg"], bones["rightLowerLeg"] = bones["rightLowerLeg"], bones["leftLowerLeg"]
    with pytest.raises(InputError, match="its bone leftLowerLeg hangs on the bone rightUpperLeg, wanted leftUpperLeg"):
        read(glb)


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        ([2.0, 1.0, 1.0], "'root' is scaled by 2, 1, 1 along its axes, or mirrored"),
        ([-1.0, 1.0, 1.0], "or mirrored"),
        ([0.0, 0.0, 0.0], "'root' is scaled by 0, 0, 0"),
        ([1e6, 1e6, 1e6], "is scaled by"),
    ],
)
def test_a_root_that_is_scaled_unevenly_is_refused(
    read: Callable[..., VrmModel], scale: list[float], said: str
) -> None:
    glb = small()
    glb.json["nodes"][0]["scale"] = scale
    with pytest.raises(InputError, match=said):
        read(glb)


def test_a_root_that_is_scaled_evenly_scales_the_body(read: Callable[..., VrmModel]) -> None:
    """As the specification allows: one positive scale for all three axes."""
    plain, glb = read(small()), small()
    glb.json["nodes"][0]["scale"] = [1.5, 1.5, 1.5]
    large = read(glb)
    assert large.build.hips_m == pytest.approx(1.5 * plain.build.hips_m, rel=1e-4)
    np.testing.assert_allclose(large.build.skeleton.offsets_m, 1.5 * plain.build.skeleton.offsets_m, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([np.nan, 0, 0, 0], "the skin's weights of vertex 5 are nan, 0, 0, 0"),
        ([np.inf, 0, 0, 0], "the skin's weights of vertex 5 are inf"),
        ([-0.5, 1.5, 0, 0], "the skin's weights of vertex 5 are -0.5, 1.5"),
        ([1e30, 0, 0, 0], "the skin's weights of vertex 5 are 1e.30"),
        ([0, 0, 0, 0], "nothing moves vertex 5, its weights are all 0"),
    ],
)
def test_weights_that_cannot_be(read: Callable[..., VrmModel], weights: list[float], said: str) -> None:
    glb = small()
    change(glb, "WEIGHTS_0", 16 * 5, np.array(weights, np.float32).tobytes())
    with pytest.raises(InputError, match=f"the mesh 'body': {said}"):
        read(glb)


def test_weights_that_are_a_little_off_are_normalised(read: Callable[..., VrmModel]) -> None:
    glb = small()
    change(glb, "WEIGHTS_0", 16 * 5, np.array([0.5, 0.3, 0.1, 0.05], np.float32).tobytes())
    np.testing.assert_allclose(read(glb).skin.weights.sum(axis=1), 1.0, atol=1e-6)


def change(glb: Glb, attribute: str, offset: int, data: bytes) -> None:
    """Other bytes in an attribute of the mesh."""
    number = glb.json["meshes"][0]["primitives"][0]["attributes"][attribute]
    start = glb.json["bufferViews"][glb.json["accessors"][number]["bufferView"]]["byteOffset"] + offset
    glb.data = glb.data[:start] + data + glb.data[start + len(data) :]


@pytest.mark.parametrize(
    ("attribute", "data", "said"),
    [
        ("JOINTS_0", np.array([900], np.uint16), "names joint 900 of a skin of 22"),
        ("POSITION", np.array([np.nan], np.float32), "has positions that are not finite"),
    ],
)
def test_indices_and_positions_that_cannot_be(
    read: Callable[..., VrmModel], attribute: str, data: np.ndarray, said: str
) -> None:
    glb = small()
    change(glb, attribute, 0, data.tobytes())
    with pytest.raises(InputError, match=said):
        read(glb)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_file_that_is_cut_off(read: Callable[..., VrmModel], part: float) -> None:
    data = small().bytes()
    with pytest.raises(InputError, match="is empty|is no binary glTF|is cut off"):
        read(data[: int(part * len(data))])


def test_data_that_is_cut_off_within_a_whole_container(read: Callable[..., VrmModel]) -> None:
    glb = small()
    glb.data = glb.data[: len(glb.data) // 2]
    with pytest.raises(InputError, match="lies outside of the file's data: it is cut off or damaged"):
        read(glb)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{}", "is no binary glTF"),
        (struct.pack("<4sII", b"glTF", 1, 40) + bytes(28), "is binary glTF 1, wanted 2"),
        (struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"JSON") + b"[1] ", "its JSON is no object"),
        (struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"JSON") + b"{,} ", "its JSON cannot be read"),
        (struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"BIN\0") + bytes(4), "holds no JSON"),
    ],
)
def test_what_is_no_vrm_at_all(read: Callable[..., VrmModel], data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(data)


def test_what_is_not_read_is_told(read: Callable[..., VrmModel]) -> None:
    glb = small()
    glb.json["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    with pytest.raises(InputError, match="needs 'KHR_draco_mesh_compression', which is not read.*compression"):
        read(glb)
    glb = small()
    text = json.dumps(glb.json | {"buffers": [{"byteLength": 4, "uri": "me.bin"}]}).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON")
    with pytest.raises(InputError, match="has data in other files"):
        read(head + text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g.json["nodes"][1].update(rotation=[0, 0, 0, 0]), "node 1: rotation has no length"),
        (lambda g: g.json["nodes"][1].update(translation=[0, "x", 0]), "node 1: translation must be 3 numbers"),
        (lambda g: g.json["nodes"][1].update(translation=[0, 1e300, 0]), "node 1: translation must be 3 numbers"),
        (lambda g: g.json["nodes"][2]["children"].append(0), "hangs on itself|hangs on node"),
        (lambda g: g.json["nodes"][2]["children"].append(99), "node 2 names 99 of"),
        (lambda g: g.json["nodes"][-1].update(skin=9), "names 9 of 1 skins"),
        (lambda g: g.json["meshes"][0].update(primitives=[]), "holds no triangles"),
        (lambda g: g.json["skins"][0].update(joints=[]), "has a skin without joints"),
        (lambda g: g.json.update(nodes=3), "nodes is no list of objects"),
        (lambda g: g.json.update(asset={"version": "1.0"}), "its asset is .*1.0.*, wanted one of glTF 2.0"),
        (lambda g: g.json["accessors"][0].update(count=1 << 40), "must be an array of 3 numbers"),
        (lambda g: g.json["accessors"][0].update(byteOffset=1 << 20), "lies outside of its buffer view"),
        (lambda g: humanoid(g)["humanBones"]["hips"].update(node="one"), "the bone 'hips' names 'one'"),
    ],
)
def test_json_that_cannot_be(read: Callable[..., VrmModel], change: Callable[[Glb], None], said: str) -> None:
    glb = small()
    change(glb)
    with pytest.raises(InputError, match=said):
        read(glb)


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ([0.7071068, 0.0, 0.0, 0.7071068], "does not stand upright along y"),
        ([0.0, 0.0, 1.0, 0.0], "does not stand upright along y"),
        ([0.0, 0.7071068, 0.0, 0.7071068], "must look along z at rest"),
    ],
)
def test_a_model_that_lies_or_looks_aside(read: Callable[..., VrmModel], turn: list[float], said: str) -> None:
    glb = small()
    glb.json["nodes"][0]["rotation"] = turn
    with pytest.raises(InputError, match=said):
        read(glb)


def test_a_bone_without_length(read: Callable[..., VrmModel]) -> None:
    glb = small()
    glb.json["nodes"][1 + JOINT_INDEX["left_knee"]]["translation"] = [0.0, 0.0, 0.0]
    with pytest.raises(InputError, match=r"me\.vrm: the skeleton's left hip has no length"):
        read(glb)


def test_the_loader_withstands_fuzz(read: Callable[..., VrmModel]) -> None:
    seeds = [small(options).bytes() for options in (*OPTIONS.values(), VrmOptions(textured=True, sparse=True))]
    fuzz(read, seeds)


NUMBERS = st.one_of(st.integers(-3, 40), st.floats(width=32), st.none(), st.text(max_size=3), st.lists(st.integers()))
SMALL = small()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in the JSON something stands."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, below in items for found in places(below, (*path, key))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_fuzz_any_value_anywhere_in_the_json_is_an_error_or_taken(tmp_path: Path, data: st.DataObject) -> None:
    root = json.loads(json.dumps(SMALL.json))
    where = places(root)
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(where))
        holder: Any = root
        try:
            for key in above:
                holder = holder[key]
            holder[last] = data.draw(NUMBERS)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
    glb = Glb()
    glb.json, glb.data = root, SMALL.data
    (tmp_path / "me.vrm").write_bytes(glb.bytes())
    try:
        model = VrmModel(tmp_path / "me.vrm")
    except BodystreamError:
        return
    assert np.isfinite(model.skin.mesh.vertices).all() and np.isfinite(model.build.skeleton.offsets_m).all()
    recorder = pose_recorder()
    recorder.add(0, IDENTITY, np.array([[0.0, 0.9, 0.0]]))
    write_body(tmp_path / "driven.glb", VrmAvatar(model), recorder)  # what was taken can be written
