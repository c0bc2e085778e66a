#!/usr/bin/env bash
# warp-lang 1.19.0, wp.launch(..., record_cmd=True), seen on 2026-11-28 on a CPU with numpy 2.4.6.
#
# A recorded launch takes its parameters when it is recorded: a variable that is changed later does nothing until it is
# set again. A wp.struct is the exception: it is held by reference, so that what is written into its fields afterwards,
# arrays and numbers alike, is what the next replay computes with. Seen, for out = values + offset:
#   recorded                       [11 12 13]
#   after the caller's own array and number were replaced     [11 12 13]
#   after the same two fields of the struct were replaced     [105 106 107]
# Who keeps one struct for many launches must not prepare it for the next one early; who counts on a copy, as of all
# other parameters, computes with the wrong values without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check warp-lang==1.19.0 numpy==2.4.6
cat > recorded.py <<'PY'
import numpy as np
import warp as wp

wp.config.log_level = getattr(wp, "LOG_WARNING", 30)


@wp.struct
class Terms:
    values: wp.array(dtype=wp.int32)
    offset: wp.int32


@wp.kernel
def by_struct(terms: Terms, out: wp.array(dtype=wp.int32)):
    i = wp.tid()
    out[i] = terms.values[i] + terms.offset


@wp.kernel
def by_parameters(values: wp.array(dtype=wp.int32), offset: wp.int32, out: wp.array(dtype=wp.int32)):
    i = wp.tid()
    out[i] = values[i] + offset


def array(*numbers):
    return wp.array(numbers, dtype=wp.int32, device="cpu")


out = wp.zeros(3, dtype=wp.int32, device="cpu")
terms = Terms()
terms.values, terms.offset = array(1, 2, 3), 10
struct = wp.launch(by_struct, dim=3, inputs=[terms, out], device="cpu", record_cmd=True)
values, offset = array(1, 2, 3), 10
plain = wp.launch(by_parameters, dim=3, inputs=[values, offset, out], device="cpu", record_cmd=True)
kept = values  # a recorded launch holds an address only
for launch in (struct, plain):
    launch.launch()
    print("recorded", out.numpy())
    assert out.numpy().tolist() == [11, 12, 13], "changed"
values, offset = array(5, 6, 7), 100
plain.launch()
print("after the caller's own were replaced", out.numpy())
assert out.numpy().tolist() == [11, 12, 13], "changed"
terms.values, terms.offset = values, offset
struct.launch()
print("after the struct's were replaced", out.numpy())
assert out.numpy().tolist() == [105, 106, 107], "changed"
PY
WARP_CACHE_PATH="$work/cache" env/bin/python recorded.py
echo "as described"
