#!/usr/bin/env bash
# The OFFSET of a BVH root that has position channels, seen on 2026-11-28: three 0.187.0 (BVHLoader, Node.js 20) and
# bvhio 1.5.4.
#
# A root with OFFSET 0 90 0 and the channel Yposition 92. bvhio takes the channel as the joint's place: 92. three.js adds
# the OFFSET: 182. A file whose root has an OFFSET of zero is read alike by both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for offset in "0 90 0" "0 0 0"; do
    cat >"${offset// /_}.bvh" <<BVH
HIERARCHY
ROOT hips
{
	OFFSET $offset
	CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
	JOINT spine
	{
		OFFSET 0 10 0
		CHANNELS 3 Zrotation Xrotation Yrotation
		End Site
		{
			OFFSET 0 10 0
		}
	}
}
MOTION
Frames: 1
Frame Time: 0.0333333
0 92 0 0 0 0 0 0 0
BVH
done

npm init -y >/dev/null
npm install --silent three@0.187.0
cat >look.mjs <<'JS'
import { readFileSync } from 'node:fs';
import { BVHLoader } from 'three/examples/jsm/loaders/BVHLoader.js';
const height = (name) => new BVHLoader().parse(readFileSync(name, 'utf8')).clip.tracks[0].values[1];
console.log('three: OFFSET 0 90 0:', height('0_90_0.bvh'), ' OFFSET 0 0 0:', height('0_0_0.bvh'));
if (height('0_90_0.bvh') !== 182 || height('0_0_0.bvh') !== 92) throw new Error('changed');
JS
node look.mjs

python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check bvhio==1.5.4
env/bin/python - <<'PY'
import bvhio


def height(name: str) -> float:
    root = bvhio.readAsHierarchy(name)
    root.loadPose(0)
    return root.PositionWorld.y


print("bvhio: OFFSET 0 90 0:", height("0_90_0.bvh"), " OFFSET 0 0 0:", height("0_0_0.bvh"))
assert height("0_90_0.bvh") == 92 and height("0_0_0.bvh") == 92, "changed"
PY
echo "as described"
