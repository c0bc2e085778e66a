"""Asks whose a pixel is, for the tests of ownership."""

import warp as wp

from bodystream.deformation.ownership_kernels import Owners, is_strange

wp.set_module_options({"enable_backward": False})


@wp.kernel(enable_backward=False)
def ask(
    # In:
    owners: Owners,
    pixels: wp.array(dtype=wp.vec2i),  # (K,) inside the image
    points: wp.array(dtype=wp.vec3),  # (K,) canonical [m]
    # Out:
    strange_out: wp.array(dtype=wp.int32),  # (K,) 1 = the pixel belongs to another part
):
    k = wp.tid()
    strange_out[k] = int(is_strange(owners, pixels[k], points[k]))
