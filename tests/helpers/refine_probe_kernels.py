"""Evaluates the refiner's cost at any pose, for the tests of its derivatives."""

import warp as wp

from bodystream.pose.refine_kernels import evaluate, prepare
from bodystream.pose.refine_terms_kernels import Model, Problem, Scratch

wp.set_module_options({"enable_backward": False, "max_unroll": 1})


@wp.kernel(enable_backward=False)
def probe(
    # In:
    model: Model,
    problem: Problem,
    rotations: wp.array2d(dtype=wp.mat33),  # (K, 22)
    roots: wp.array(dtype=wp.vec3),  # (K,) [m]
    # Out:
    scratch_out: Scratch,
    costs_out: wp.array(dtype=wp.float32),  # (K,) in squared standard deviations
):
    k = wp.tid()
    prepare(k, model, problem, scratch_out)
    costs_out[k] = evaluate(k, model, problem, scratch_out, rotations, roots[k], 0.0)
