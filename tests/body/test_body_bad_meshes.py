"""Meshes that cannot be described are refused, by the vertex or face that is at fault."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.body import AcapSpace, check_topology, check_upright, largest_piece
from bodystream.errors import InputError
from bodystream.types import Array, Mesh
from helpers.body_meshes import bar, shipped_body, sphere


def with_faces(mesh: Mesh, faces: Array) -> Mesh:
    return Mesh(mesh.vertices, np.asarray(faces, np.int32))


def test_a_sound_mesh_passes_closed_or_open() -> None:
    mesh = sphere()
    check_topology(mesh.faces, len(mesh.vertices), "it")
    AcapSpace(with_faces(mesh, mesh.faces[1:])).check(with_faces(mesh, mesh.faces[1:]))


def test_another_topology_is_told_by_its_numbers_or_by_its_first_other_face() -> None:
    mesh = sphere()
    space = AcapSpace(mesh)
    with pytest.raises(
        InputError, match="a.obj: another topology: 42 vertices and 80 faces, the reference has 162 and"
    ):
        space.check(sphere(1), "a.obj")
    turned = mesh.faces.copy()
    turned[17] = turned[17][[1, 2, 0]]
    with pytest.raises(InputError, match="face 17 is .* and of the reference .* .1 of 320 differ"):
        space.check(with_faces(mesh, turned), "a.obj")


def test_an_edge_of_three_faces_is_named() -> None:
    mesh = sphere()
    a, b, _ = mesh.faces[5].tolist()
    other = next(v for v in range(len(mesh.vertices)) if v not in mesh.faces[(mesh.faces == a).any(axis=1)])
    faces = np.vstack([mesh.faces, [a, b, other]])
    with pytest.raises(
        InputError, match=rf"edge from vertex {a} to {b} is not manifold: faces \[5, {len(mesh.faces)}\]"
    ):
        check_topology(faces, len(mesh.vertices), "it")


def test_a_face_that_is_wound_the_other_way_is_named() -> None:
    mesh = sphere()
    faces = mesh.faces.copy()
    faces[9] = faces[9][::-1]
    with pytest.raises(InputError, match=r"is not manifold: faces \[.*9.*\] all run along it"):
        check_topology(faces, len(mesh.vertices), "it")


def test_a_vertex_in_which_two_fans_meet_is_named() -> None:
    mesh = sphere()
    apart = next(
        v for v in range(1, len(mesh.vertices)) if not ((mesh.faces == 0) | (mesh.faces == v)).any(axis=1).all()
    )
    far = int(np.linalg.norm(mesh.vertices - mesh.vertices[0], axis=1).argmax())
    assert apart and not ((mesh.faces == 0).any(axis=1) & (mesh.faces == far).any(axis=1)).any()
    faces = np.where(mesh.faces == far, 0, mesh.faces)  # its opposite is pulled into vertex 0
    faces = np.where(faces > far, faces - 1, faces)
    with pytest.raises(InputError, match="vertex 0 is not manifold: 2 fans of faces meet in it"):
        check_topology(faces, len(mesh.vertices) - 1, "it")


def test_an_isolated_vertex_is_named() -> None:
    mesh = sphere()
    with pytest.raises(InputError, match="vertex 162 is isolated, no face has it"):
        check_topology(mesh.faces, 163, "it")


def test_a_second_piece_is_named_and_the_largest_can_be_kept() -> None:
    one, two = sphere(2), sphere(1)
    faces = np.vstack([two.faces, one.faces + len(two.vertices)])
    count = len(one.vertices) + len(two.vertices)
    with pytest.raises(InputError, match="in 2 pieces of 162, 42 vertices.*vertex 0 is not in the largest"):
        check_topology(faces, count, "it")
    kept, left = largest_piece(faces, count)
    assert np.array_equal(kept, np.arange(42, count)) and np.array_equal(left, one.faces)


@pytest.mark.parametrize(("place", "said"), [(200, "mesh has 162 vertices"), (None, "it has a vertex twice")])
def test_faces_that_lead_out_or_repeat_a_vertex_are_named(place: int | None, said: str) -> None:
    mesh = sphere()
    faces = mesh.faces.copy()
    faces[3, 2] = faces[3, 1] if place is None else place
    with pytest.raises(InputError, match=f"face 3 is .*{said}"):
        check_topology(faces, len(mesh.vertices), "it")


def test_faces_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"whole numbers of shape \(F, 3\), got float64"):
        check_topology(np.zeros((4, 3)), 4, "it")


def test_a_face_without_area_is_named_in_reference_and_mesh() -> None:
    mesh = sphere()
    space = AcapSpace(mesh)
    a, b, c = mesh.faces[7].tolist()
    moved = mesh.vertices.copy()
    moved[a] = 0.5 * (moved[b] + moved[c])
    flat = np.flatnonzero((mesh.faces == a).any(axis=1) & (mesh.faces == b).any(axis=1) & (mesh.faces == c).any(axis=1))
    assert flat.tolist() == [7]
    with pytest.raises(InputError, match="the mesh: face 7 is degenerate, it has no area"):
        space.check(Mesh(moved, mesh.faces))
    with pytest.raises(InputError, match="the reference: face 7 is degenerate"):
        AcapSpace(Mesh(moved, mesh.faces))


def test_a_mirrored_mesh_is_told() -> None:
    mesh, _ = shipped_body()
    with pytest.raises(InputError, match="is mirrored, its faces look inwards"):
        AcapSpace(Mesh(mesh.vertices * (-1.0, 1.0, 1.0), mesh.faces))


@pytest.mark.parametrize(
    ("factor", "said"),
    [(1e3, "in millimetres: give metres"), (1e2, "in centimetres"), (1e-3, "wide or tall: give metres")],
)
def test_another_unit_is_told(factor: float, said: str) -> None:
    mesh = bar()
    with pytest.raises(InputError, match=said):
        AcapSpace(Mesh(mesh.vertices * factor, mesh.faces))


def test_a_vertex_that_is_not_finite_is_named() -> None:
    mesh = sphere()
    moved = mesh.vertices.copy()
    moved[11, 1] = np.nan
    with pytest.raises(InputError, match="vertex 11 is not finite"):
        AcapSpace(mesh).check(Mesh(moved, mesh.faces))


def test_vertices_of_another_kind_are_refused() -> None:
    mesh = sphere()
    with pytest.raises(InputError, match=r"floating-point numbers of shape \(V, 3\), got int64"):
        AcapSpace(Mesh(np.zeros((162, 3), np.int64), mesh.faces))


def test_z_up_is_told_and_y_up_is_not() -> None:
    mesh, _ = shipped_body()
    check_upright(mesh.vertices, "it")
    with pytest.raises(InputError, match="must have y up.* so that z seems to be up"):
        check_upright(mesh.vertices[:, [0, 2, 1]] * (1.0, -1.0, 1.0), "it")
