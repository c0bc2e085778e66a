"""The smallest kernel, by which `bodystream doctor` proves that kernels build and run on a device."""

import warp as wp


@wp.kernel(enable_backward=False)
def double_values(
    # In:
    values: wp.array(dtype=wp.float32),  # (N,) any numbers
    # Out:
    doubled_out: wp.array(dtype=wp.float32),  # (N,) twice as large
):
    i = wp.tid()
    doubled_out[i] = values[i] * 2.0
