"""On CUDA a whole iteration can be captured in a graph: nothing in it waits for the host."""

from dataclasses import replace

import numpy as np
import pytest
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import initialise_warp, select_device
from bodystream.tracking.solver import GaussNewton
from helpers.solver_problems import PLAIN, device_points, random_problem

initialise_warp()
CUDA = pytest.mark.skipif(not wp.is_cuda_available(), reason="needs an NVIDIA GPU")


@CUDA
def test_a_captured_iteration_steps_as_plain_launches_do():
    device = select_device("cuda")
    problem = random_problem()
    field = WarpField(device, neighbours=problem.edges.shape[1], capacity=len(problem.nodes))
    field.set_graph(problem.nodes, problem.edges, problem.rotations, problem.translations)
    solver = GaussNewton(field, problem.camera, replace(PLAIN, linear="pcg", pcg_iterations=60))
    solver.set_points(device_points(device, problem.points, problem.anchors, problem.weights))
    solver.set_flow(problem.targets)

    solver.begin()
    solver.iterate(0)
    plain = field.translations.numpy().copy()

    field.set_motion(problem.rotations, problem.translations)
    solver.begin()
    with wp.ScopedCapture(device=device) as capture:
        solver.iterate(0)
    field.set_motion(problem.rotations, problem.translations)
    solver.begin()
    wp.capture_launch(capture.graph)
    np.testing.assert_allclose(field.translations.numpy(), plain, atol=1e-5)
