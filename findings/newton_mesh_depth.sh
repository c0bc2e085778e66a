#!/usr/bin/env bash
# newton 1.8.0 on warp-lang 1.19.0: how deep inside a mesh shape a particle is still found, seen on 2026-12-01 on a CPU
# with numpy 2.4.6.
#
# A particle touches a shape where its distance, negative inside, is less than its radius plus `soft_contact_gap`. One
# expects contacts at every depth, and the same ones whether a box is made by add_shape_box or is a mesh of 12
# triangles, and whether that mesh is in metres or in millimetres with scale 0.001. Seen, for a radius of 5 mm and a gap
# of 20 mm:
#   a box:       contacts at every depth;
#   a mesh:      none deeper than 25 mm, since the nearest face is looked for no farther than that, inwards as outwards;
#   scale 0.001: none beyond 5 mm on either side, since the gap of 0.02 is taken in the mesh's own units: 0.02 mm;
#   scale 100:   contacts at every depth of this box, since the same gap is now 2 m.
# Nothing is said. Cloth that a fast arm has swallowed deeper than this is not led out again, and the gap of a scan in
# millimetres is a thousandth of what was asked for.
# Output seen:
#   depth [mm]          -22  -10   -4    0    4   10   22   30   50  100
#   box                   x    x    x    x    x    x    x    x    x    x
#   mesh in metres        x    x    x    x    x    x    x    .    .    .
#   mesh, scale 0.001     .    .    x    x    x    .    .    .    .    .
#   mesh, scale 100       x    x    x    x    x    x    x    x    x    x
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check newton==1.8.0 warp-lang==1.19.0 numpy==2.4.6
WARP_CACHE_PATH="$work/cache" env/bin/python - <<'PY' 2>/dev/null
import newton
import numpy as np
import warp as wp

wp.config.log_level = getattr(wp, "LOG_WARNING", 30)
wp.config.enable_backward, wp.config.optimization_level = False, 0  # less time to compile, the same contacts

HALF_M, RADIUS_M, GAP_M = 0.1, 0.005, 0.02
DEPTHS_M = np.array([-22, -10, -4, 0, 4, 10, 22, 30, 50, 100]) / 1000

corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) * HALF_M
faces = [0, 1, 3, 0, 3, 2, 4, 6, 7, 4, 7, 5, 0, 4, 5, 0, 5, 1, 2, 3, 7, 2, 7, 6, 0, 2, 6, 0, 6, 4, 1, 5, 7, 1, 7, 3]


def found(scale: float | None) -> np.ndarray:
    """Which of the particles below the middle of the top face have a contact; without a scale the shape is a box."""
    builder = newton.ModelBuilder(up_axis=newton.Axis.Y)
    if scale is None:
        builder.add_shape_box(body=-1, hx=HALF_M, hy=HALF_M, hz=HALF_M)
    else:
        mesh = newton.Mesh(corners / scale, np.array(faces, np.int32), compute_inertia=False)
        builder.add_shape_mesh(body=-1, mesh=mesh, scale=wp.vec3(scale))
    for depth in DEPTHS_M:
        builder.add_particle(pos=wp.vec3(0.0, HALF_M - depth, 0.0), vel=wp.vec3(0.0), mass=0.01, radius=RADIUS_M)
    model = builder.finalize(device="cpu")
    pipeline = newton.CollisionPipeline(model, soft_contact_gap=GAP_M)
    contacts = pipeline.contacts()
    pipeline.collide(model.state(), contacts)
    touched = contacts.soft_contact_particle.numpy()[: int(contacts.soft_contact_count.numpy()[0])]
    return np.isin(np.arange(len(DEPTHS_M)), touched)


print("depth [mm]        ", *(f"{1000 * depth:4.0f}" for depth in DEPTHS_M))
reach = RADIUS_M + GAP_M
for name, scale, expected in (
    ("box", None, np.full(len(DEPTHS_M), True)),
    ("mesh in metres", 1.0, np.abs(DEPTHS_M) < reach),
    ("mesh, scale 0.001", 0.001, np.abs(DEPTHS_M) < RADIUS_M + 0.001 * GAP_M),
    ("mesh, scale 100", 100.0, np.full(len(DEPTHS_M), True)),
):
    touched = found(scale)
    print(f"{name:18}", *("   x" if touch else "   ." for touch in touched))
    assert np.array_equal(touched, expected), f"changed: {name}"
PY
echo "as described"
