"""What refinement computes with: its data, rotations, joint limits and a small dense solve."""

import warp as wp

wp.set_module_options({"enable_backward": False, "max_unroll": 1})


@wp.struct
class Model:
    offsets: wp.array(dtype=wp.vec3)  # (22,) [m]
    parents: wp.array(dtype=wp.int32)  # (22,)
    slots: wp.array(dtype=wp.int32)  # (14,) joints that are refined, parents first
    effectors: wp.array(dtype=wp.int32)  # (3,) head, left wrist, right wrist
    chains: wp.array2d(dtype=wp.int32)  # (3, 8) slots from the pelvis to each effector, -1 beyond its end
    shared: wp.int32  # how many slots all chains begin with
    hinges: wp.array(dtype=wp.vec3)  # (22,) axis of a hinge joint, zero for others
    bones: wp.array(dtype=wp.vec3)  # (22,) of LIMITS, and so are the next five
    centres: wp.array(dtype=wp.vec3)  # (22,) unit
    laterals: wp.array(dtype=wp.vec3)  # (22,) unit
    cones: wp.array(dtype=wp.float32)  # (22,) [rad]
    lateral_ranges: wp.array(dtype=wp.vec2)  # (22,) [rad]
    twist_ranges: wp.array(dtype=wp.vec2)  # (22,) [rad]
    legs: wp.array2d(dtype=wp.int32)  # (2, 3) hip, knee and ankle of the left and right leg
    iterations: wp.int32
    position_std: wp.float32  # [m]
    rotation_std: wp.float32  # [rad]
    loose_position_std: wp.float32  # [m] of an observation whose weight nears 0
    loose_rotation_std: wp.float32  # [rad]
    root_std: wp.float32  # [m]
    limit_std: wp.float32  # [rad]
    reach_slack: wp.float32  # [m]
    step_limit: wp.float32  # [rad]


@wp.struct
class Problem:
    sample: wp.array2d(dtype=wp.mat33)  # (K, 22) rotations in the parents' frames
    sample_roots: wp.array(dtype=wp.vec3)  # (K,) [m]
    target_positions: wp.array(dtype=wp.vec3)  # (3,) [m]
    target_rotations: wp.array(dtype=wp.mat33)  # (3,)
    target_weights: wp.array(dtype=wp.float32)  # (3,) 0 to 1
    joint_std: wp.array2d(dtype=wp.float32)  # (K, 22) [rad]
    keep_feet: wp.array(dtype=wp.int32)  # (2,) whether the ankle stays where the sample has it


@wp.struct
class Scratch:
    positions: wp.array2d(dtype=wp.vec3)  # (K, 22) world [m]
    world: wp.array2d(dtype=wp.mat33)  # (K, 22)
    best: wp.array2d(dtype=wp.mat33)  # (K, 14)
    best_root: wp.array(dtype=wp.vec3)  # (K,) [m]
    weights: wp.array2d(dtype=wp.mat33)  # (K, 14) information of the prior
    inverses: wp.array2d(dtype=wp.mat33)  # (K, 14) A^-1
    gradients: wp.array2d(dtype=wp.vec3)  # (K, 14) of half the cost by the increments
    free_steps: wp.array2d(dtype=wp.vec3)  # (K, 15) steps without observations; the last is the root's
    jacobians: wp.array4d(dtype=wp.mat33)  # (K, 3, 8, 2) of position and rotation
    residuals: wp.array2d(dtype=wp.vec3)  # (K, 6) of each observation position [m] and rotation [rad]
    goals: wp.array2d(dtype=wp.vec3)  # (K, 3) target positions within reach [m]
    system: wp.array3d(dtype=wp.float32)  # (K, 18, 18) in the space of the observations, then its Cholesky factor
    right: wp.array2d(dtype=wp.float32)  # (K, 18) right side, then the solution


@wp.func
def exponential(v: wp.vec3) -> wp.mat33:
    """Rotation by the rotation vector v."""
    angle = wp.length(v)
    scale = 0.5 - angle * angle / 48.0
    if angle > 1.0e-2:
        scale = wp.sin(0.5 * angle) / angle
    return wp.quat_to_matrix(wp.normalize(wp.quat(scale * v[0], scale * v[1], scale * v[2], wp.cos(0.5 * angle))))


@wp.func
def logarithm(rotation: wp.mat33) -> wp.vec3:
    """Rotation vector, angle at most pi."""
    q = wp.normalize(wp.quat_from_matrix(rotation))
    v = wp.vec3(q[0], q[1], q[2])
    w = q[3]
    if w < 0.0:
        v = -v
        w = -w
    sine = wp.length(v)
    if sine < 1.0e-4:
        return v * 2.0
    return v * (2.0 * wp.atan2(sine, w) / sine)


@wp.func
def left_jacobian_inverse(v: wp.vec3) -> wp.mat33:
    """d log(exp(d) exp(v)) / dd at d = 0."""
    angle = wp.length(v)
    factor = 1.0 / 12.0
    if angle > 0.1:
        half = wp.min(0.5 * angle, 1.5)
        factor = (1.0 - half * wp.cos(half) / wp.sin(half)) / (angle * angle)
    k = wp.skew(v)
    return wp.identity(n=3, dtype=float) - 0.5 * k + factor * (k * k)


@wp.func
def swing(start: wp.vec3, end: wp.vec3) -> wp.mat33:
    """Smallest rotation from one unit vector to another that is not its opposite."""
    k = wp.skew(wp.cross(start, end))
    return wp.identity(n=3, dtype=float) + k + (k * k) * (1.0 / (1.0 + wp.max(wp.dot(start, end), -0.9999)))


@wp.func
def limit(model: Model, joint: int, rotation: wp.mat33, kind: int) -> wp.vec4:
    """Excess over a bound of a joint (0 cone, 1 lateral, 2 twist) [rad], and its derivative by the increment."""
    excess = float(0.0)
    slope = wp.vec3(0.0, 0.0, 0.0)
    bone = model.bones[joint]
    if kind == 2:
        q = wp.quat_from_matrix(rotation)
        v = wp.vec3(q[0], q[1], q[2])
        w = q[3]
        if w < 0.0:  # q and -q are the same rotation, their angles differ by a whole turn
            v = -v
            w = -w
        s = wp.dot(v, bone)
        angle = 2.0 * wp.atan2(s, w)
        bounds = model.twist_ranges[joint]
        over = wp.max(angle - bounds[1], 0.0) - wp.max(bounds[0] - angle, 0.0)
        length = s * s + w * w
        if over != 0.0 and length > 1.0e-4:
            excess = over
            slope = (w * w * bone + w * wp.cross(v, bone) + s * v) / length
    else:
        direction = rotation * bone
        if kind == 0:
            centre = model.centres[joint]
            cosine = wp.dot(centre, direction)
            across = wp.cross(direction, centre)
            sine = wp.length(across)
            over = wp.atan2(sine, cosine) - model.cones[joint]
            if over > 0.0 and sine > 1.0e-3:
                excess = over
                slope = -across / sine
        else:
            lateral = model.laterals[joint]
            sine = wp.clamp(wp.dot(lateral, direction), -1.0, 1.0)
            angle = wp.asin(sine)
            bounds = model.lateral_ranges[joint]
            over = wp.max(angle - bounds[1], 0.0) - wp.max(bounds[0] - angle, 0.0)
            cosine = wp.sqrt(wp.max(1.0 - sine * sine, 0.0))
            if over != 0.0 and cosine > 1.0e-3:
                excess = over
                slope = wp.cross(direction, lateral) / cosine
    return wp.vec4(excess, slope[0], slope[1], slope[2])


@wp.func
def variance(tight: float, loose: float, weight: float) -> float:
    """Of an observation: from loose to tight as the weight goes from 0 to 1, evenly in the logarithm."""
    std = tight * wp.pow(loose / tight, 1.0 - weight)
    return std * std


@wp.func
def solve(k: int, n: int, system: wp.array3d(dtype=wp.float32), right: wp.array2d(dtype=wp.float32)):
    """Solve the symmetric positive system (lower triangle) in place by Cholesky's factors."""
    for i in range(n):
        for j in range(i + 1):
            total = system[k, i, j]
            for c in range(j):
                total -= system[k, i, c] * system[k, j, c]
            if i == j:
                system[k, i, i] = wp.sqrt(wp.max(total, 1.0e-12))
            else:
                system[k, i, j] = total / system[k, j, j]
        value = right[k, i]
        for c in range(i):
            value -= system[k, i, c] * right[k, c]
        right[k, i] = value / system[k, i, i]
    for back in range(n):
        i = n - 1 - back
        value = right[k, i]
        for c in range(i + 1, n):
            value -= system[k, c, i] * right[k, c]
        right[k, i] = value / system[k, i, i]
