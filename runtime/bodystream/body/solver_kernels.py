"""A sparse triangular system and its transpose, of three right sides at once.

The factor's columns stand in groups of four, and a row of a group is one vector, whether or not all four have it. What
is solved for is a row of four for each unknown, the three right sides and one that is not used: those are what vectors
of a processor hold. One thread goes through all groups, since each of them needs those before.
"""

import warp as wp


@wp.func
def four_rows(rows: wp.array(dtype=wp.vec4d), k: wp.int32) -> wp.mat44d:
    """The unknowns of a group."""
    i = 4 * k
    return wp.matrix_from_rows(rows[i], rows[i + 1], rows[i + 2], rows[i + 3])


@wp.func
def set_four_rows(rows: wp.array(dtype=wp.vec4d), k: wp.int32, values: wp.mat44d):
    for a in range(4):
        rows[4 * k + a] = values[a]


@wp.kernel(enable_backward=False)
def forward(
    begin: wp.int32,
    # In:
    first: wp.array(dtype=wp.int32),  # (G + 1,) where each group's rows below its own ones begin
    row: wp.array(dtype=wp.int32),  # (E,) the unknown that each of them is
    below: wp.array(dtype=wp.vec4d),  # (E,) the factor there, in the group's four columns
    own_inverse: wp.array(dtype=wp.mat44d),  # (G,) of the group's own rows, lower triangular
    balance: wp.array(dtype=wp.vec4d),  # (1,) what is taken off all right sides
    # Out (solved in place):
    rows_out: wp.array(dtype=wp.vec4d),  # (4 G,) right sides, then solutions of L z = rows - balance
):
    off = wp.matrix_from_rows(balance[0], balance[0], balance[0], balance[0])
    k = begin + wp.tid()
    while k < own_inverse.shape[0]:  # a quarter faster than `range`, whose loops may go either way
        z = own_inverse[k] * (four_rows(rows_out, k) - off)
        set_four_rows(rows_out, k, z)
        edge = first[k]
        end = first[k + 1]
        while edge < end:
            rows_out[row[edge]] -= below[edge] * z
            edge += 1
        k += 1


@wp.kernel(enable_backward=False)
def back(
    begin: wp.int32,
    # In:
    first: wp.array(dtype=wp.int32),  # (G + 1,) as of `forward`
    row: wp.array(dtype=wp.int32),  # (E,) as of `forward`
    below: wp.array(dtype=wp.vec4d),  # (E,) as of `forward`
    own_inverse: wp.array(dtype=wp.mat44d),  # (G,) as of `forward`
    # Out (solved in place):
    rows_out: wp.array(dtype=wp.vec4d),  # (4 G,) right sides, then solutions of L^T x = rows
):
    k = own_inverse.shape[0] - 1 - begin - wp.tid()
    while k >= 0:
        known = wp.mat44d()
        edge = first[k]
        end = first[k + 1]
        while edge < end:
            known += wp.outer(below[edge], rows_out[row[edge]])
            edge += 1
        set_four_rows(rows_out, k, wp.transpose(own_inverse[k]) * (four_rows(rows_out, k) - known))
        k -= 1


@wp.kernel(enable_backward=False)
def take_out(
    begin: wp.int32,
    # In:
    rows: wp.array(dtype=wp.vec4d),  # (4 G,) solutions
    place: wp.array(dtype=wp.int32),  # (V,) the row of each vertex
    move: wp.array(dtype=wp.vec3d),  # (1,) is added
    # Out:
    found_out: wp.array(dtype=wp.vec3d),  # (V,) moved solutions
):
    i = begin + wp.tid()
    row = rows[place[i]]
    found_out[i] = wp.vec3d(row[0], row[1], row[2]) + move[0]
