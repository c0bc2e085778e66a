"""Meshes of one topology as deformations of a reference (ACAP), and back.

Sec. 3 of Jiang et al., "Disentangled Human Body Embedding Based on Deep Hierarchical Neural Network", 2020 (DHNN),
after Gao et al., "Sparse data driven mesh deformation", 2019. Two things are added, without which it does not go both
ways:

- A ring that is flat in the reference says nothing about where its normal goes. Eq. 1 gets one more term, an edge along
  the ring's normal m whose target is the normal of the deformed ring: `w_i |T_i m - nu(T_i)|^2`, nu(T) along T a x T b,
  w_i being 1/200 of what the ring weighs along its plane. It decides for flat rings, and keeps nearly flat ones, which
  bulge to either side by chance, from turning inside out. Curved rings hardly feel it.
- Eq. 6 pulls each ring towards an affine image of the reference's, which a real ring is not: the mesh that it gives
  back is off by millimetres. What is sought instead is the mesh whose own transforms are nearest to the given ones, in
  the same measure: sum_i |(T_i(p) - T_i) H_i^(1/2)|^2, H_i = sum_j c_ij e_ij e_ij^T + w_i m m^T. This is the part of
  eq. 5 that depends on the features; it is zero for the mesh they were made of. Eq. 6 stays in the sum with a weight of
  1e-5, for what no transform sees.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.sparse import bsr_matrix, csc_matrix, csr_matrix
from scipy.sparse.linalg import SuperLU, splu

from bodystream.body.axis_angle import consistent_vectors
from bodystream.body.checks import check_like, check_surface, check_topology
from bodystream.body.polar import polar, symmetric_from_vectors, vectors_from_symmetric
from bodystream.body.rings import rings_of
from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.types import Array, Mesh

__all__ = ["AFFINE_WEIGHT", "AcapSpace", "factors"]

AFFINE_WEIGHT = 1e-5


class AcapSpace:
    """Features of the meshes that share a reference's faces.

    Args:
        reference: the mesh q that all others are deformations of, one piece, y up [m].
        where: what to call it in messages.

    Raises:
        InputError: as `check_topology` and `check_surface`.
    """

    def __init__(self, reference: Mesh, where: str = "the reference") -> None:
        check_topology(reference.faces, len(reference.vertices), where)
        check_surface(reference.vertices, reference.faces, where)
        self.reference = np.asarray(reference.vertices, np.float64)
        self.faces = np.asarray(reference.faces, np.int32)
        self.rings = rings_of(self.reference, self.faces)
        self._solver: SuperLU | None = None

    @property
    def count(self) -> int:
        """Of vertices, V."""
        return len(self.reference)

    def check(self, mesh: Mesh, where: str = "the mesh") -> None:
        """Refuse what has no features: another topology, degenerate faces, mirrored, not in metres.

        Raises:
            InputError: names what is wrong and the vertex or face.
        """
        check_like(mesh.faces, len(mesh.vertices), self.faces, self.count, where)
        check_surface(mesh.vertices, mesh.faces, where)

    def transforms(self, vertices: Array) -> Array:
        """(V, 3, 3) affine transforms T_i of each vertex' ring (eq. 1, with the term of the normal).

        Args:
            vertices: (V, 3) p [m].
        """
        rings = self.rings
        spread = rings.spreads(np.asarray(vertices, np.float64))
        plain = spread @ rings.inverse  # right along the plane, where the normal's term has no part
        return (spread + self._normal_part(plain)) @ rings.inverse

    def features(self, vertices: Array) -> Array:
        """(V, 9) ACAP features [r_i, s_i]: rotation vectors [rad], consistent over the mesh, and the six numbers of
        the symmetric part (xx, xy, xz, yy, yz, zz) of T_i = R_i S_i.

        Args:
            vertices: (V, 3) p [m], that passed `check`.

        Raises:
            InputError: another number of vertices.
        """
        self._require("vertices", vertices, 3)
        rotations, symmetric = polar(self.transforms(vertices), self.rings.normals)
        vectors = consistent_vectors(rotations, self.rings.start, self.rings.end)
        return np.concatenate([vectors, vectors_from_symmetric(symmetric)], axis=1)

    def transforms_of(self, features: Array) -> Array:
        """(V, 3, 3) transforms of (V, 9) features."""
        return matrix_from_rotation_vector(features[:, :3]) @ symmetric_from_vectors(features[:, 3:])

    def vertices(self, features: Array) -> Array:
        """(V, 3) float64 vertices [m] of (V, 9) features; their mean is where the reference's is.

        Translation is not in the features. The first call factorises the system, which takes a moment.

        Raises:
            InputError: features of another shape.
        """
        self._require("features", features, 9)
        given = self.transforms_of(np.asarray(features, np.float64))
        return self.solve(self.right_side(given)) + self.reference.mean(axis=0)

    def right_side(self, transforms: Array) -> Array:
        """(V, 3) right side of the system whose solution is nearest to (V, 3, 3) transforms, see `matrix`."""
        return self.pull @ transforms.swapaxes(1, 2).reshape(-1, 3) - self.lift @ self.rings.lifted(transforms)

    @cached_property
    def matrix(self) -> csc_matrix:
        """(V, V) of the system: `matrix @ p = right_side(T)`, translation being free."""
        rings, count = self.rings, self.count
        blocks = bsr_matrix((rings.inverse, np.arange(count), np.arange(count + 1)), shape=(3 * count, 3 * count))
        return csc_matrix(rings.spread.T @ blocks @ rings.spread + 2.0 * AFFINE_WEIGHT * rings.laplacian)

    @cached_property
    def pull(self) -> csr_matrix:
        """(V, 3V), and `lift` (V, V): the right side of the system is `pull @ T - lift @ nu`, T the (3V, 3) rows of all
        transposed transforms, nu the (V, 3) of `Rings.lifted`.

        With C the sums of `Rings.spread` and H the moments, the right side of the module's system is C^T H^-1 D(T), and
        D(T) is H T^T but for the term of the normal: H cancels, and what is left is that of eq. 6.
        """
        return csr_matrix((1.0 + AFFINE_WEIGHT) * self.rings.spread.T)

    @cached_property
    def lift(self) -> csr_matrix:
        """See `pull`."""
        rings, count = self.rings, self.count
        along = rings.normal_weights[:, None, None] * (rings.inverse @ rings.normals[:, :, None])
        blocks = bsr_matrix((along, np.arange(count), np.arange(count + 1)), shape=(3 * count, count))
        return csr_matrix(rings.spread.T @ blocks)

    def solve(self, wanted: Array) -> Array:
        """(V, N) the columns of the system's solution whose mean is zero, for (V, N) right sides; it is symmetric."""
        found = np.zeros(wanted.shape)
        balanced = wanted - wanted.mean(axis=0)  # translation is in no right side that features make
        found[1:] = self.factorised().solve(balanced[1:])
        return found - found.mean(axis=0)

    def factorised(self) -> SuperLU:
        """Factors of the matrix without vertex 0, which stays where it is; made once."""
        if self._solver is None:
            self._solver = factors(csc_matrix(self.matrix[1:, 1:]))
        return self._solver

    def _normal_part(self, transforms: Array) -> Array:
        rings = self.rings
        lifted = rings.normal_weights[:, None] * rings.lifted(transforms)
        return lifted[:, :, None] * rings.normals[:, None, :]

    def _require(self, name: str, array: Array, columns: int) -> None:
        if array.shape != (self.count, columns):
            raise InputError(f"{name} must have shape ({self.count}, {columns}), got {array.shape}")


def factors(matrix: csc_matrix) -> SuperLU:
    """Of a symmetric and definite matrix, which needs no pivoting."""
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
