"""One pose per thread: Gauss-Newton with Levenberg's damping from a sampled pose to the observed head and hands.

The unknowns are increments `R <- exp(d) R` of 14 joints, each in its parent's frame, and of the root's position. The
prior and the limits give one 3x3 block per joint, the observations only 18 rows, so a step is solved in the space of
the observations: `S = J A^-1 J^T + Omega^-1` is 18x18 whatever the number of joints.
"""

import warp as wp

from bodystream.pose.refine_terms_kernels import (
    Model,
    Problem,
    Scratch,
    exponential,
    left_jacobian_inverse,
    limit,
    logarithm,
    solve,
    swing,
    variance,
)

wp.set_module_options({"enable_backward": False, "max_unroll": 1})


@wp.func
def place(k: int, joint: int, model: Model, scratch: Scratch, rotations: wp.array2d(dtype=wp.mat33), root: wp.vec3):
    """Forward kinematics of one joint whose parent is in place."""
    parent = model.parents[joint]
    if parent < 0:
        scratch.positions[k, joint] = root
        scratch.world[k, joint] = rotations[k, joint]
    else:
        above = scratch.world[k, parent]
        scratch.positions[k, joint] = scratch.positions[k, parent] + above * model.offsets[joint]
        scratch.world[k, joint] = above * rotations[k, joint]


@wp.func
def prepare(k: int, model: Model, problem: Problem, scratch: Scratch):
    """The prior's weights, and target positions that are within reach of the arms."""
    root = problem.sample_roots[k]
    for s in range(model.slots.shape[0]):
        joint = model.slots[s]
        place(k, joint, model, scratch, problem.sample, root)
        std = problem.joint_std[k, joint]
        weight = wp.identity(n=3, dtype=float) * (1.0 / (std * std))
        hinge = model.hinges[joint]
        if wp.length_sq(hinge) > 0.5:
            # A hinge turns about its axis, its lower bone turns about itself, and hardly anything else.
            bone = problem.sample[k, joint] * model.bones[joint]
            # The twist is dearer than the hinge, since it does not move the hand.
            spread = wp.outer(hinge, hinge) + 0.25 * wp.outer(bone, bone) + 0.01 * wp.identity(n=3, dtype=float)
            weight = wp.inverse(spread) * (1.0 / (std * std))
        scratch.weights[k, s] = weight
    head = model.effectors[0]
    shift = wp.vec3(0.0, 0.0, 0.0)
    if problem.target_weights[0] > 0.0:
        shift = problem.target_positions[0] - scratch.positions[k, head]
    scratch.goals[k, 0] = problem.target_positions[0]
    for e in range(1, 3):
        wrist = model.effectors[e]
        elbow = model.parents[wrist]
        shoulder = scratch.positions[k, model.parents[elbow]] + shift
        reach = wp.length(model.offsets[wrist]) + wp.length(model.offsets[elbow]) + model.reach_slack
        away = problem.target_positions[e] - shoulder
        distance = wp.length(away)
        goal = problem.target_positions[e]
        if distance > reach:
            goal = shoulder + away * (reach / distance)
        scratch.goals[k, e] = goal


@wp.func
def evaluate(
    k: int,
    model: Model,
    problem: Problem,
    scratch: Scratch,
    rotations: wp.array2d(dtype=wp.mat33),
    root: wp.vec3,
    damping: float,
) -> float:
    """Cost at a pose; leaves A^-1, free steps, residuals and Jacobians in the scratch."""
    cost = float(0.0)
    for s in range(model.slots.shape[0]):
        joint = model.slots[s]
        place(k, joint, model, scratch, rotations, root)
        rotation = rotations[k, joint]
        e = logarithm(rotation * wp.transpose(problem.sample[k, joint]))
        by_step = left_jacobian_inverse(e)
        weight = scratch.weights[k, s]
        cost += wp.dot(e, weight * e)
        gradient = wp.transpose(by_step) * (weight * e)
        block = wp.transpose(by_step) * weight * by_step + damping * weight
        for kind in range(3):
            over = limit(model, joint, rotation, kind)
            if over[0] != 0.0:
                share = 1.0 / (model.limit_std * model.limit_std)
                slope = wp.vec3(over[1], over[2], over[3])
                cost += share * over[0] * over[0]
                gradient += share * over[0] * slope
                block += share * wp.outer(slope, slope)
        inverse = wp.inverse(block)
        scratch.inverses[k, s] = inverse
        scratch.gradients[k, s] = gradient
        scratch.free_steps[k, s] = -(inverse * gradient)
    moved = root - problem.sample_roots[k]
    cost += wp.length_sq(moved) / (model.root_std * model.root_std)
    scratch.free_steps[k, model.slots.shape[0]] = -moved / (1.0 + damping)

    for e in range(3):
        strength = problem.target_weights[e]
        if strength > 0.0:
            joint = model.effectors[e]
            tip = scratch.positions[k, joint]
            apart = tip - scratch.goals[k, e]
            turn = logarithm(scratch.world[k, joint] * wp.transpose(problem.target_rotations[e]))
            by_turn = left_jacobian_inverse(turn)
            cost += wp.length_sq(apart) / variance(model.position_std, model.loose_position_std, strength)
            cost += wp.length_sq(turn) / variance(model.rotation_std, model.loose_rotation_std, strength)
            scratch.residuals[k, 2 * e] = apart
            scratch.residuals[k, 2 * e + 1] = turn
            for c in range(model.chains.shape[1]):
                s = model.chains[e, c]
                if s >= 0:
                    at = model.slots[s]
                    parent = model.parents[at]
                    above = wp.identity(n=3, dtype=float)
                    if parent >= 0:
                        above = scratch.world[k, parent]
                    scratch.jacobians[k, e, c, 0] = -(wp.skew(tip - scratch.positions[k, at]) * above)
                    scratch.jacobians[k, e, c, 1] = by_turn * above
    return cost


@wp.func
def add_block(
    k: int,
    e: int,
    f: int,
    model: Model,
    scratch: Scratch,
    root_variance: float,
):
    """Rows of observation e and columns of observation f of J A^-1 J^T."""
    count = model.shared
    if e == f:
        count = model.chains.shape[1]
    pp = wp.identity(n=3, dtype=float) * root_variance
    pr = wp.mat33()
    rp = wp.mat33()
    rr = wp.mat33()
    for c in range(count):
        s = model.chains[e, c]
        if s >= 0:
            inverse = scratch.inverses[k, s]
            by_position = scratch.jacobians[k, e, c, 0] * inverse
            by_rotation = scratch.jacobians[k, e, c, 1] * inverse
            position = wp.transpose(scratch.jacobians[k, f, c, 0])
            rotation = wp.transpose(scratch.jacobians[k, f, c, 1])
            pp += by_position * position
            pr += by_position * rotation
            rp += by_rotation * position
            rr += by_rotation * rotation
    for a in range(3):
        for b in range(3):
            scratch.system[k, 6 * e + a, 6 * f + b] = pp[a, b]
            scratch.system[k, 6 * e + a, 6 * f + 3 + b] = pr[a, b]
            scratch.system[k, 6 * e + 3 + a, 6 * f + b] = rp[a, b]
            scratch.system[k, 6 * e + 3 + a, 6 * f + 3 + b] = rr[a, b]


@wp.func
def step(
    k: int,
    model: Model,
    problem: Problem,
    scratch: Scratch,
    damping: float,
    rotations: wp.array2d(dtype=wp.mat33),
    roots: wp.array(dtype=wp.vec3),
) -> float:
    """One damped Gauss-Newton step of the pose; returns the largest turn of a joint [rad] or shift of the root [m]."""
    count = model.slots.shape[0]
    root_variance = model.root_std * model.root_std / (1.0 + damping)
    for e in range(3):
        weight = problem.target_weights[e]
        if weight > 0.0:
            position = -scratch.residuals[k, 2 * e] - scratch.free_steps[k, count]
            rotation = -scratch.residuals[k, 2 * e + 1]
            for c in range(model.chains.shape[1]):
                s = model.chains[e, c]
                if s >= 0:
                    position -= scratch.jacobians[k, e, c, 0] * scratch.free_steps[k, s]
                    rotation -= scratch.jacobians[k, e, c, 1] * scratch.free_steps[k, s]
            for f in range(e + 1):
                if problem.target_weights[f] > 0.0:
                    add_block(k, e, f, model, scratch, root_variance)
                else:
                    for a in range(6):
                        for b in range(6):
                            scratch.system[k, 6 * e + a, 6 * f + b] = 0.0
            for a in range(3):
                scratch.right[k, 6 * e + a] = position[a]
                scratch.right[k, 6 * e + 3 + a] = rotation[a]
                i = 6 * e + a
                scratch.system[k, i, i] += variance(model.position_std, model.loose_position_std, weight)
                scratch.system[k, i + 3, i + 3] += variance(model.rotation_std, model.loose_rotation_std, weight)
        else:
            for a in range(6):
                scratch.right[k, 6 * e + a] = 0.0
                for b in range(6 * e + 6):
                    scratch.system[k, 6 * e + a, b] = 0.0
                scratch.system[k, 6 * e + a, 6 * e + a] = 1.0
    solve(k, 18, scratch.system, scratch.right)

    # Each joint's share, gathered over the observations that it moves.
    for e in range(3):
        if problem.target_weights[e] > 0.0:
            position = wp.vec3(scratch.right[k, 6 * e], scratch.right[k, 6 * e + 1], scratch.right[k, 6 * e + 2])
            rotation = wp.vec3(scratch.right[k, 6 * e + 3], scratch.right[k, 6 * e + 4], scratch.right[k, 6 * e + 5])
            scratch.free_steps[k, count] = scratch.free_steps[k, count] + root_variance * position
            for c in range(model.chains.shape[1]):
                s = model.chains[e, c]
                if s >= 0:
                    pull = wp.transpose(scratch.jacobians[k, e, c, 0]) * position
                    pull += wp.transpose(scratch.jacobians[k, e, c, 1]) * rotation
                    scratch.free_steps[k, s] = scratch.free_steps[k, s] + scratch.inverses[k, s] * pull
    largest = float(0.0)
    for s in range(count):
        turn = scratch.free_steps[k, s]
        angle = wp.length(turn)
        largest = wp.max(largest, angle)
        if angle > model.step_limit:
            turn = turn * (model.step_limit / angle)
        joint = model.slots[s]
        rotations[k, joint] = exponential(turn) * rotations[k, joint]
    shift = scratch.free_steps[k, count]
    roots[k] = roots[k] + shift
    return wp.max(largest, wp.length(shift))


@wp.func
def keep_foot(
    k: int, side: int, model: Model, problem: Problem, scratch: Scratch, rotations: wp.array2d(dtype=wp.mat33)
):
    """Two-bone inverse kinematics: the ankle back to where the sample has it, the foot's orientation kept.

    Twin of `contact.leg_to`.
    """
    hip = model.legs[side, 0]
    knee = model.legs[side, 1]
    ankle = model.legs[side, 2]
    # Where the sample has the ankle, and how the foot lies.
    above = problem.sample[k, 0]
    hip_at = problem.sample_roots[k] + above * model.offsets[hip]
    thigh = above * problem.sample[k, hip]
    knee_at = hip_at + thigh * model.offsets[knee]
    shin = thigh * problem.sample[k, knee]
    goal = knee_at + shin * model.offsets[ankle]
    foot = shin * problem.sample[k, ankle]
    # The leg as the refined pelvis carries it.
    above = scratch.world[k, 0]
    hip_at = scratch.positions[k, 0] + above * model.offsets[hip]
    thigh = above * rotations[k, hip]
    upper = wp.length(model.offsets[knee])
    lower = wp.length(model.offsets[ankle])
    away = goal - hip_at
    distance = wp.clamp(wp.length(away), wp.abs(upper - lower) + 1.0e-3, upper + lower - 1.0e-4)
    along_thigh = wp.normalize(model.offsets[knee])
    along_shin = wp.normalize(model.offsets[ankle])
    now = rotations[k, knee] * along_shin
    # The knee bends in the plane that it bends in now; a straight one about its hinge.
    axis = wp.cross(along_thigh, now)
    sine = wp.length(axis)
    if sine < 1.0e-3:
        axis = wp.vec3(-1.0, 0.0, 0.0)
    else:
        axis = axis / sine
    if axis[0] > 0.0:  # overstretched: it goes through the straight leg to bend as a knee does
        axis = -axis
        sine = -sine
    bend = wp.acos(wp.clamp((distance * distance - upper * upper - lower * lower) / (2.0 * upper * lower), -1.0, 1.0))
    bent = exponential(axis * (bend - wp.atan2(sine, wp.dot(along_thigh, now)))) * rotations[k, knee]
    reach = thigh * (model.offsets[knee] + bent * model.offsets[ankle])
    turned = swing(wp.normalize(reach), wp.normalize(away)) * thigh
    rotations[k, hip] = wp.transpose(above) * turned
    rotations[k, knee] = bent
    rotations[k, ankle] = wp.transpose(turned * bent) * foot


@wp.kernel(enable_backward=False)
def refine(
    begin: wp.int32,
    # In:
    model: Model,
    problem: Problem,
    # Out:
    scratch_out: Scratch,
    rotations_out: wp.array2d(dtype=wp.mat33),  # (K, 22)
    roots_out: wp.array(dtype=wp.vec3),  # (K,) [m]
    position_errors_out: wp.array2d(dtype=wp.float32),  # (K, 3) [m]
    rotation_errors_out: wp.array2d(dtype=wp.float32),  # (K, 3) [rad]
    costs_out: wp.array2d(dtype=wp.float32),  # (K, 2) of the sample and of the result
    evaluations_out: wp.array(dtype=wp.int32),  # (K,)
):
    k = begin + wp.tid()
    slots = model.slots.shape[0]
    for joint in range(rotations_out.shape[1]):
        rotations_out[k, joint] = problem.sample[k, joint]
    roots_out[k] = problem.sample_roots[k]
    prepare(k, model, problem, scratch_out)
    damping = float(0.0)
    best = float(0.0)
    evaluations = int(0)
    going = int(1)
    while going == 1:
        cost = evaluate(k, model, problem, scratch_out, rotations_out, roots_out[k], damping)
        evaluations += 1
        if evaluations == 1:
            costs_out[k, 0] = cost
        if evaluations == 1 or cost < best:
            if evaluations > 1 and best - cost < 1.0e-5 * best:
                going = 0
            best = cost
            for s in range(slots):
                scratch_out.best[k, s] = rotations_out[k, model.slots[s]]
            scratch_out.best_root[k] = roots_out[k]
            if evaluations > 1:
                damping = wp.where(damping < 0.02, 0.0, damping * 0.1)
        else:
            for s in range(slots):
                rotations_out[k, model.slots[s]] = scratch_out.best[k, s]
            roots_out[k] = scratch_out.best_root[k]
            damping = wp.max(0.5, 16.0 * damping)
            if evaluations < model.iterations and damping < 1.0e6:
                evaluate(k, model, problem, scratch_out, rotations_out, roots_out[k], damping)
            else:
                going = 0
        if evaluations >= model.iterations:
            going = 0
        if going == 1:
            change = step(k, model, problem, scratch_out, damping, rotations_out, roots_out)
            if change < 1.0e-5:
                going = 0
    for s in range(slots):
        rotations_out[k, model.slots[s]] = scratch_out.best[k, s]
    roots_out[k] = scratch_out.best_root[k]
    for s in range(slots):
        place(k, model.slots[s], model, scratch_out, rotations_out, roots_out[k])
    for side in range(2):
        if problem.keep_feet[side] != 0:
            keep_foot(k, side, model, problem, scratch_out, rotations_out)
    for e in range(3):
        joint = model.effectors[e]
        position_errors_out[k, e] = wp.length(scratch_out.positions[k, joint] - problem.target_positions[e])
        turn = logarithm(scratch_out.world[k, joint] * wp.transpose(problem.target_rotations[e]))
        rotation_errors_out[k, e] = wp.length(turn)
    costs_out[k, 1] = best
    evaluations_out[k] = evaluations
