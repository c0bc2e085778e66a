"""What follows of a depth image from the labels of its pixels."""

import warp as wp

PIXELS = wp.constant(4)  # of a thread: on the CPU a thread of one pixel would be mostly overhead
FOREGROUND = wp.constant(1)
BACKGROUND = wp.constant(2)  # the source says that nothing of the body is there
FAR_M = wp.constant(100.0)


@wp.kernel(enable_backward=False)
def label_depth(
    begin: wp.int32,
    # In:
    labels: wp.array(dtype=wp.vec4ub),  # (H*W / PIXELS,) FOREGROUND and BACKGROUND, added; 0 = neither is known
    # Out (scene_depth_out is read, too):
    scene_depth_out: wp.array(dtype=wp.vec4),  # (H*W / PIXELS,) all measurements [m]; FAR_M in BACKGROUND
    depth_out: wp.array(dtype=wp.vec4),  # (H*W / PIXELS,) [m] of the foreground, 0 elsewhere
    mask_out: wp.array(dtype=wp.vec4ub),  # (H*W / PIXELS,) 1 = foreground
):
    i = begin + wp.tid()
    scene = scene_depth_out[i]
    depth = wp.vec4()
    mask = wp.vec4ub()
    for k in range(PIXELS):
        label = int(labels[i][k])
        mask[k] = wp.uint8(label & FOREGROUND)
        depth[k] = wp.where((label & FOREGROUND) == 0, 0.0, scene[k])
        scene[k] = wp.where((label & BACKGROUND) == 0, scene[k], FAR_M)
    scene_depth_out[i] = scene
    depth_out[i] = depth
    mask_out[i] = mask


@wp.kernel(enable_backward=False)
def fill_shadows(
    begin: wp.int32,
    # In:
    mask: wp.array2d(dtype=wp.uint8),  # (H, W) 1 = foreground
    # Options:
    first_row: int,
    columns: wp.vec2i,  # first, and behind the last: all of the foreground with a shadow's width around it
    widest_px: int,
    # Out (read, too):
    scene_depth_out: wp.array2d(dtype=float),  # (H, W) all measurements [m]
):
    """Holes of a row between foreground and background get the background's depth.

    Beside a near outline a stereo or structured-light camera measures nothing: one of its two eyes sees the background
    there, and the other one the subject. A hole within the subject, or wider than such a shadow, says nothing.
    """
    v = first_row + begin + wp.tid()
    before = int(-1)  # the last pixel that was measured
    for u in range(columns[0], columns[1]):
        z = scene_depth_out[v, u]
        if z > 0.0:
            if before >= 0 and u - before > 1 and u - before <= widest_px + 1 and mask[v, u] != mask[v, before]:
                background = scene_depth_out[v, before]
                if mask[v, u] == wp.uint8(0):
                    background = z
                for hole in range(before + 1, u):
                    scene_depth_out[v, hole] = background
            before = u
