#!/bin/sh
# The tests against a real OpenXR runtime, the one that make_runtime.sh has made.
#
#   tests/openxr/run_tests.sh ROOT PYTHON [options of pytest]
#
# The runtime's library wants the C library that it was built with, so Python itself is started with that: with the
# dynamic loader and the libraries of ROOT. What ROOT does not have comes from this system, as ever.
set -eu
[ $# -ge 2 ] || { echo "usage: $0 ROOT PYTHON [options of pytest]" >&2; exit 2; }
root=$(cd "$1" && pwd) python=$2
shift 2
[ -e "$root/.complete" ] || { echo "error: $root is not complete: run tests/openxr/make_runtime.sh $root" >&2; exit 1; }
loader=$(find "$root/usr/lib" "$root/usr/lib64" -maxdepth 2 -name 'ld-linux-*.so.*' 2>/dev/null | sort | head -n 1)
libraries=$(find "$root/usr/lib" -name 'lib*.so*' -printf '%h\n' | sort -u | paste -sd: -)
case $python in /*) ;; *) python=$(pwd)/$python ;; esac
export BODYSTREAM_OPENXR_ROOT="$root" BODYSTREAM_OPENXR_LOADER="$loader" BODYSTREAM_OPENXR_LIBRARIES="$libraries"
exec "$loader" --argv0 "$python" --library-path "$libraries" "$(readlink -f "$python")" \
    -m pytest -q -m openxr "$(dirname "$0")" "$@"
