#!/bin/sh
# An OpenXR runtime without hardware, in a folder of its own: Monado of Debian trixie, with a software Vulkan driver.
#
#   tests/openxr/make_runtime.sh ROOT [MIRROR]
#
# Needs root's rights and the package debootstrap. Takes about 0.8 GB. A ROOT that is complete is left as it is.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 ROOT [MIRROR]" >&2; exit 2; }
root=$1 mirror=${2:-}
packages="monado-service libopenxr1-monado mesa-vulkan-drivers libgl1"

if [ -e "$root/.complete" ]; then exit 0; fi
if [ "$(id -u)" != 0 ]; then echo "error: $0 makes a Debian root, which only root may do: use sudo" >&2; exit 1; fi
if ! command -v debootstrap >/dev/null; then
    echo "error: debootstrap is not installed: apt-get install -y debootstrap" >&2; exit 1
fi
mark=.bodystream-openxr
if [ -e "$root/$mark" ]; then
    rm -rf --one-file-system "$root" # of an earlier run that was interrupted
elif [ -e "$root" ] && [ -n "$(ls -A "$root")" ]; then
    echo "error: $root is not empty, and not of this script: name another folder" >&2; exit 1
fi
mkdir -p "$root"
touch "$root/$mark"
debootstrap --variant=minbase trixie "$root" ${mirror:+"$mirror"}
chroot "$root" apt-get update -q
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y -q --no-install-recommends $packages
chroot "$root" apt-get clean
touch "$root/.complete"
echo "OpenXR runtime ready in $root"
