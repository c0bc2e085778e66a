"""What follows of a depth image from the labels of its pixels."""

import warp as wp

FOREGROUND = wp.constant(1)
BACKGROUND = wp.constant(2)  # the source says that nothing of the body is there
FAR_M = wp.constant(100.0)


@wp.kernel(enable_backward=False)
def label_depth(
    begin: wp.int32,
    # In:
    labels: wp.array(dtype=wp.uint8),  # (H*W,) FOREGROUND and BACKGROUND, added; 0 = neither is known
    # In and out:
    scene_depth: wp.array(dtype=float),  # (H*W,) all measurements [m]; FAR_M in BACKGROUND
    # Out:
    depth_out: wp.array(dtype=float),  # (H*W,) [m] of the foreground, 0 elsewhere
    mask_out: wp.array(dtype=wp.uint8),  # (H*W,) 1 = foreground
):
    i = begin + wp.tid()
    label = int(labels[i])
    depth = scene_depth[i]
    foreground = label & FOREGROUND
    mask_out[i] = wp.uint8(foreground)
    if foreground == 0:
        depth_out[i] = 0.0
    else:
        depth_out[i] = depth
    if (label & BACKGROUND) != 0:
        scene_depth[i] = FAR_M
