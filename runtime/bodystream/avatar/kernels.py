"""Kernels of the skinned body: bones by forward kinematics, linear blend skinning, normals of the posed surface.

Every kernel gathers: a thread writes its own elements only, so that launches may be cut over CPU threads.
"""

import warp as wp


@wp.kernel(enable_backward=False)
def move_bones(
    begin: wp.int32,
    # Body:
    parents: wp.array(dtype=wp.int32),  # (22,) -1 = root
    offsets: wp.array(dtype=wp.vec3),  # (22,) joint from its parent in the T-pose [m]
    bone_from_bind_linear: wp.array(dtype=wp.mat33),  # (22,) rotation: a point at bind, seen from the bone
    bone_from_bind_shift: wp.array(dtype=wp.vec3),  # (22,) [m]
    # Pose:
    pose: wp.array(dtype=wp.vec4),  # (23,) 22 quaternions xyzw of any length, then the root's position [m]
    # Out:
    world_from_bind_linear_out: wp.array(dtype=wp.mat33),  # (22,)
    world_from_bind_shift_out: wp.array(dtype=wp.vec3),  # (22,) [m]
    joints_out: wp.array(dtype=wp.vec3),  # (22,) world [m]
):
    """Each joint climbs its own chain to the root, which needs no order between threads."""
    i = begin + wp.tid()
    q = pose[i]
    world = wp.normalize(wp.quat(q[0], q[1], q[2], q[3]))
    position = wp.vec3(0.0, 0.0, 0.0)  # of the joint in the frame of `above`
    j = int(i)
    above = parents[i]
    while above >= 0:
        q = pose[above]
        turn = wp.normalize(wp.quat(q[0], q[1], q[2], q[3]))
        position = wp.quat_rotate(turn, offsets[j] + position)
        world = turn * world
        j = above
        above = parents[above]
    root = pose[parents.shape[0]]
    position += wp.vec3(root[0], root[1], root[2])
    world_from_bind_linear_out[i] = wp.quat_to_matrix(world) * bone_from_bind_linear[i]
    world_from_bind_shift_out[i] = position + wp.quat_rotate(world, bone_from_bind_shift[i])
    joints_out[i] = position


@wp.kernel(enable_backward=False)
def skin_vertices(
    begin: wp.int32,
    # Body:
    bind: wp.array(dtype=wp.vec3),  # (V,) [m]
    skin_joints: wp.array(dtype=wp.vec4i),  # (V,) largest weight first
    skin_weights: wp.array(dtype=wp.vec4),  # (V,)
    # Pose:
    world_from_bind_linear: wp.array(dtype=wp.mat33),  # (22,)
    world_from_bind_shift: wp.array(dtype=wp.vec3),  # (22,) [m]
    # Out:
    posed_out: wp.array(dtype=wp.vec3),  # (V,) world [m]
):
    """Linear blend skinning; two thirds of the vertices follow one bone alone."""
    i = begin + wp.tid()
    p = bind[i]
    joints = skin_joints[i]
    weights = skin_weights[i]
    posed = weights[0] * (world_from_bind_linear[joints[0]] * p + world_from_bind_shift[joints[0]])
    for k in range(1, 4):
        if weights[k] > 0.0:
            posed += weights[k] * (world_from_bind_linear[joints[k]] * p + world_from_bind_shift[joints[k]])
    posed_out[i] = posed


@wp.kernel(enable_backward=False)
def ring_normals(
    begin: wp.int32,
    # Surface:
    posed: wp.array(dtype=wp.vec3),  # (V,) [m]
    ring_start: wp.array(dtype=wp.int32),  # (V + 1,)
    ring: wp.array(dtype=wp.vec2i),  # (3 F,) of each face around a vertex, its other two corners in order
    # Out:
    normals_out: wp.array(dtype=wp.vec3),  # (V,) unit, outwards
):
    """Area-weighted mean of the normals of the faces around each vertex; +y where they cancel."""
    i = begin + wp.tid()
    a = posed[i]
    n = wp.vec3(0.0, 0.0, 0.0)
    for r in range(ring_start[i], ring_start[i + 1]):
        corners = ring[r]
        n += wp.cross(posed[corners[0]] - a, posed[corners[1]] - a)
    length = wp.length(n)
    if length > 1.0e-20:
        normals_out[i] = n / length
    else:
        normals_out[i] = wp.vec3(0.0, 1.0, 0.0)
