#!/usr/bin/env bash
# newton 1.8.0 on warp-lang 1.19.0: a mesh shape that was moved and refitted has no contacts, seen on 2026-11-30 with
# numpy 2.4.6.
#
# The triangles of a newton.Mesh on a still body are a wp.Mesh (`mesh.mesh`), whose points may be written and refitted,
# as `enable_surface_velocity` suggests: a body that is skinned to a motion and that cloth lies on. CollisionPipeline
# looks for particles only within the bounds that ModelBuilder.finalize took of the shape, in its own frame, and no
# refit changes these. A surface that leaves them collides with nothing, and nothing is said; one that leaves them in
# part, as an arm that is raised, in part. With `shape_collision_aabb_lower` and `_upper` set by hand it collides.
# Output seen:
#   particle 5 mm above the box: 1 contact
#   both 1 m higher, the mesh refitted: 0 contacts
#   the same with bounds set by hand: 1 contact
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

HALF_M, UP_M, ABOVE_M, GAP_M = 0.1, 1.0, 0.005, 0.02

corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) * HALF_M
faces = [0, 1, 3, 0, 3, 2, 4, 6, 7, 4, 7, 5, 0, 4, 5, 0, 5, 1, 2, 3, 7, 2, 7, 6, 0, 2, 6, 0, 6, 4, 1, 5, 7, 1, 7, 3]
mesh = newton.Mesh(corners, np.array(faces, np.int32), compute_inertia=False, enable_surface_velocity=True)
builder = newton.ModelBuilder(up_axis=newton.Axis.Y)
builder.add_shape_mesh(body=-1, mesh=mesh)
builder.add_particle(pos=wp.vec3(0.01, HALF_M + ABOVE_M, 0.02), vel=wp.vec3(0.0), mass=0.01, radius=0.005)
model = builder.finalize(device="cpu")
pipeline = newton.CollisionPipeline(model, soft_contact_gap=GAP_M)
contacts, state = pipeline.contacts(), model.state()


def found() -> int:
    pipeline.collide(state, contacts)
    return int(contacts.soft_contact_count.numpy()[0])


where_it_was = found()
up = np.array([0.0, UP_M, 0.0], np.float32)
mesh.mesh.points.assign(corners + up)
mesh.mesh.refit()
state.particle_q.assign(state.particle_q.numpy() + up)  # as far above the face as before
moved = found()
model.shape_collision_aabb_lower.fill_(wp.vec3(-10.0, -10.0, -10.0))
model.shape_collision_aabb_upper.fill_(wp.vec3(10.0, 10.0, 10.0))
with_bounds = found()
print(f"particle {1e3 * ABOVE_M:.0f} mm above the box: {where_it_was} contact")
print(f"both {UP_M:.0f} m higher, the mesh refitted: {moved} contacts")
print(f"the same with bounds set by hand: {with_bounds} contact")
assert where_it_was == 1 and with_bounds == 1
assert moved == 0, "a refitted mesh collides where it is now: this finding is history"
PY
