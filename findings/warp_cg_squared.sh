#!/usr/bin/env bash
# warp-lang 1.19.0, warp.optim.linear.cg, seen on 2026-11-28 on a CPU with numpy 2.4.6.
#
# cg returns (iterations, residual norm, tolerance). With `check_every=0`, which is what a step without read-backs uses,
# the second and the third are squares. Seen for one system after 20 iterations, |b - A x| = 6.3e-06:
#   check_every=10: residual 6.30e-06, tolerance 6.51e-06
#   check_every=0:  residual 3.98e-11, tolerance 4.23e-11
# A caller who compares the residual with a tolerance of his own finds it met far too early.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check warp-lang==1.19.0 numpy==2.4.6
WARP_CACHE_PATH="$work/cache" env/bin/python - <<'PY'
import numpy as np
import warp as wp
from warp.optim.linear import cg
from warp.sparse import bsr_from_triplets

wp.config.log_level = getattr(wp, "LOG_WARNING", 30)
size = 50
matrix = np.diag(np.full(size, 2.5)) - np.diag(np.ones(size - 1), 1) - np.diag(np.ones(size - 1), -1)
rows, columns = np.nonzero(matrix)
sparse = bsr_from_triplets(
    size, size, wp.array(rows, dtype=int), wp.array(columns, dtype=int), wp.array(matrix[rows, columns], dtype=wp.float64)
)
right = np.random.default_rng(0).normal(size=size)


def solved(check_every: int) -> tuple[float, float, float]:
    x = wp.zeros(size, dtype=wp.float64)
    _, residual, tolerance = cg(
        sparse, wp.array(right, dtype=wp.float64), x, tol=1e-6, maxiter=20, check_every=check_every, use_cuda_graph=False
    )
    number = [float(v.numpy()[0]) if hasattr(v, "numpy") else float(v) for v in (residual, tolerance)]
    return number[0], number[1], float(np.linalg.norm(right - matrix @ x.numpy()))


for check_every, power in ((10, 1), (0, 2)):
    residual, tolerance, true = solved(check_every)
    print(f"check_every={check_every}: residual {residual:.3g}, tolerance {tolerance:.3g}; |b - A x| = {true:.3g}")
    assert np.isclose(residual, true**power, rtol=1e-3), "changed"
    assert np.isclose(tolerance, (1e-6 * np.linalg.norm(right)) ** power, rtol=1e-3), "changed"
PY
echo "as described"
