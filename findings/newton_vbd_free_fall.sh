#!/usr/bin/env bash
# newton 1.8.0 on warp-lang 1.19.0: cloth that falls more slowly because it could touch itself, seen on 2026-11-29 with
# numpy 2.4.6.
#
# SolverVBD with particle_enable_self_contact moves no vertex farther in a step than half of relaxation times (margin +
# gap), so that it cannot pass what it was near to. This holds in free fall, too, where nothing is near, and nothing says
# that it was reached. A cloth that falls for 0.2 s in steps of 1/240 s comes 0.20 m down without self-contact. With it
# and a gap of 4 mm it comes 0.19 m, more slowly the longer it falls; with a gap of 20 mm it falls as it should. Garments
# on somebody who walks lag behind the body, which looks like drag. Gaps have to be as long as the fastest step.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check newton==1.8.0 warp-lang==1.19.0 numpy==2.4.6
env/bin/python - <<'PY' 2>/dev/null
import newton
import numpy as np
import warp as wp

SECONDS, STEP_S = 0.2, 1 / 240


def fallen_m(self_contact: bool, gap_m: float) -> float:
    """How far the middle of a loose square of cloth comes down."""
    builder = newton.ModelBuilder(up_axis=newton.Axis.Y, gravity=(0.0, -9.81, 0.0))
    builder.add_cloth_grid(
        pos=wp.vec3(0.0), rot=wp.quat_identity(), vel=wp.vec3(0.0), dim_x=5, dim_y=5, cell_x=0.05, cell_y=0.05,
        mass=0.01, tri_ke=400.0, tri_ka=200.0, tri_kd=1e-3, edge_ke=1e-3, edge_kd=0.0, particle_radius=0.01,
    )
    builder.color(include_bending=True)
    model = builder.finalize(device="cpu")
    solver = newton.solvers.SolverVBD(
        model, iterations=8, particle_enable_tile_solve=False, particle_enable_self_contact=self_contact,
        particle_self_contact_margin=0.005, particle_self_contact_gap=gap_m,
    )
    now, after = model.state(), model.state()
    began = now.particle_q.numpy()[:, 1].mean()
    for _ in range(round(SECONDS / STEP_S)):
        now.clear_forces()
        solver.step(now, after, model.control(), None, STEP_S)
        now, after = after, now
    return float(began - now.particle_q.numpy()[:, 1].mean())


without, narrow, wide = fallen_m(False, 0.004), fallen_m(True, 0.004), fallen_m(True, 0.02)
print(f"free fall by the book   {0.5 * 9.81 * SECONDS**2:.4f} m")
print(f"without self-contact    {without:.4f} m")
print(f"with it, gap of 4 mm    {narrow:.4f} m")
print(f"with it, gap of 20 mm   {wide:.4f} m")
assert abs(without - wide) < 1e-4, "a wide gap slows it down, too"
assert narrow < without - 0.005, "free fall is no longer slowed down: this finding is history"
PY
