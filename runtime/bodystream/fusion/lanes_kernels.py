"""Eight numbers at once: what a compiler turns into SIMD on a CPU, and into registers on a GPU.

Everything that is the same for all lanes is done with `vec8`. A loop over the lanes becomes vector instructions where
its length is constant and each lane is one comparison and one `wp.where`: masks of 1 and 0 are multiplied, since lanes
whose conditions are joined by `and` stay scalar. `wp.min` and `wp.max` heed nan, which takes several instructions:
`smaller` and `larger` are one each, and give the second argument where one of them is nan.
"""

import warp as wp

__all__ = [
    "above",
    "any_lane",
    "chosen",
    "larger",
    "least",
    "most",
    "smaller",
    "sum_of",
    "vec8",
    "vec8i",
    "vec8ub",
    "vec9",
    "vec16",
    "within",
]

wp.set_module_options({"enable_backward": False, "max_unroll": 16})

vec8 = wp.types.vector(length=8, dtype=float)
vec8i = wp.types.vector(length=8, dtype=int)
vec8ub = wp.types.vector(length=8, dtype=wp.uint8)
vec9 = wp.types.vector(length=9, dtype=float)
vec16 = wp.types.vector(length=16, dtype=float)


@wp.func
def above(a: vec8, b: vec8) -> vec8:
    """1 where a > b, else 0."""
    mask = vec8()
    for k in range(8):
        mask[k] = wp.where(a[k] > b[k], 1.0, 0.0)
    return mask


@wp.func
def within(a: vec8, b: vec8) -> vec8:
    """1 where |a| <= b, else 0."""
    mask = vec8()
    for k in range(8):
        mask[k] = wp.where(wp.abs(a[k]) <= b[k], 1.0, 0.0)
    return mask


@wp.func
def chosen(mask: vec8, a: vec8, b: vec8) -> vec8:
    """Lanes of a where a mask is positive, else those of b."""
    lanes = vec8()
    for k in range(8):
        lanes[k] = wp.where(mask[k] > 0.0, a[k], b[k])
    return lanes


@wp.func
def larger(a: vec8, b: vec8) -> vec8:
    lanes = vec8()
    for k in range(8):
        lanes[k] = wp.where(a[k] > b[k], a[k], b[k])
    return lanes


@wp.func
def smaller(a: vec8, b: vec8) -> vec8:
    lanes = vec8()
    for k in range(8):
        lanes[k] = wp.where(a[k] < b[k], a[k], b[k])
    return lanes


@wp.func
def most(v: vec8) -> float:
    """The largest of eight."""
    half = larger(v, vec8(v[4], v[5], v[6], v[7], v[0], v[1], v[2], v[3]))
    pair = larger(half, vec8(half[2], half[3], half[0], half[1], half[6], half[7], half[4], half[5]))
    return wp.where(pair[0] > pair[1], pair[0], pair[1])


@wp.func
def least(v: vec8) -> float:
    """The smallest of eight."""
    return -most(-v)


@wp.func
def sum_of(v: vec8) -> float:
    return wp.dot(v, vec8(1.0))


@wp.func
def any_lane(mask: vec8) -> bool:
    """Whether a mask is positive somewhere."""
    return most(mask) > 0.0
