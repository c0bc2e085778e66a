#!/bin/sh
# Installs what is not Python's: system packages that are absent and that a make target needs.
#
#   tools/system_packages.sh venv PYTHON     what Python needs to make virtual environments
#   tools/system_packages.sh tests FOLDER    what tests want beside it; FOLDER remembers what was tried in vain
#
# Only root, or who may use sudo without a password, gets them installed; others are told the command. What tests want
# and cannot have is skipped by name, so that is no error here. SYSTEM_PACKAGES=no installs nothing.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 venv PYTHON | tests FOLDER" >&2; exit 2; }
PATH=$PATH:/usr/sbin:/sbin

manager=
for candidate in apt-get dnf brew; do
    if command -v "$candidate" >/dev/null; then manager=$candidate; break; fi
done

as_root=
if [ "$manager" != brew ] && [ "$(id -u)" != 0 ]; then as_root="sudo -n"; fi
may_install() {
    [ "${SYSTEM_PACKAGES:-yes}" != no ] || return 1
    case $manager in
    "") return 1 ;;
    brew) ;;
    *) [ -z "$as_root" ] || $as_root true 2>/dev/null || return 1 ;;
    esac
}

install() {
    case $manager in
    apt-get)
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
            $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" ;;
    dnf) $as_root dnf install -q -y "$@" ;;
    brew) brew install -q "$@" ;;
    esac
}

command_for() {
    case $manager in
    apt-get) echo "sudo apt-get install $*" ;;
    dnf) echo "sudo dnf install $*" ;;
    brew) echo "brew install $*" ;;
    *) echo "with your system's package manager: $*" ;;
    esac
}

case $1 in
venv)
    # Only Debian and its kin keep this apart from Python.
    packages=$("$2" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$manager" = apt-get ] && may_install && install "$packages" >&2; then exit 0; fi
    echo "error: $2 cannot make virtual environments. Install what is missing: $(command_for "$packages")" >&2
    exit 1 ;;
tests) ;;
*) echo "error: $1 is neither venv nor tests" >&2; exit 2 ;;
esac

has_library() { { ldconfig -p 2>/dev/null || ls /usr/lib /usr/local/lib /opt/homebrew/lib 2>/dev/null; } | grep -q "$1"; }
has_one_of() { for name; do command -v "$name" >/dev/null && return 0; done; return 1; }

missing='' why=''
want() { # PACKAGES PURPOSE
    missing="$missing $1"
    why="$why
  $1: $2"
}
libusb=libusb-1.0-0 opengl=libgl1 chromium=chromium driver=chromium-driver compiler=g++
case $manager in
dnf) libusb=libusb1 opengl=libglvnd-glx driver=chromedriver compiler="gcc-c++ libasan libtsan libubsan" ;;
brew) libusb=libusb chromium=google-chrome driver=chromedriver compiler=gcc ;;
apt-get)
    # On Ubuntu the browser has another name.
    if [ "$(sed -n 's/^ID=//p' /etc/os-release 2>/dev/null)" = ubuntu ]; then
        chromium=chromium-browser driver=chromium-chromedriver
    fi ;;
esac
has_library 'libusb-1\.0' || want "$libusb" "tests of RealSense cameras and recordings"
[ "$(uname -s)" != Linux ] || has_library 'libGL\.so\.1' || want "$opengl" "tests of headsets through OpenXR"
has_one_of chromium chromium-browser google-chrome || [ -d "/Applications/Google Chrome.app" ] ||
    want "$chromium" "tests of the viewer's and the headset's page"
has_one_of chromedriver || want "$driver" "the same"
{ has_one_of cc && has_one_of c++; } || want "$compiler" "tests of include/bodystream.h"
[ -n "$missing" ] || exit 0

tried="$2/.system-packages-tried"
if may_install && [ "$(cat "$tried" 2>/dev/null)" != "$missing" ]; then
    echo "system packages for the tests:$why" >&2
    # shellcheck disable=SC2086  # a list of words
    if install $missing >&2; then exit 0; fi
    echo "$missing" >"$tried"
fi
echo "note: absent, and what needs it is skipped:$why
  To install: $(command_for "${missing# }")" >&2
