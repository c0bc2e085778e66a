#!/usr/bin/env bash
# Raw 16-bit depth in Matroska through FFmpeg 8 (PyAV 18.1.0, libavformat 62.12), seen on 2026-11-28 with numpy 2.4.6.
#
# Azure Kinect and Femto recorders keep depth in .mkv as raw big-endian 16-bit pictures. One would write such a file by
# the codec rawvideo with gray16be. Seen:
#   as it is:               refused, "Invalid argument", nothing of why;
#   with allow_raw_vfw=1:   written, the right bytes in the file, but read back as rgb555le by the same library: a decoded
#                           picture is a colour picture of noise;
#   ffv1 with gray16le:     written and read back exactly.
# A reader of such recordings has to take the packets' bytes by itself, as their header says, and not the decoded picture.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check av==18.1.0 numpy==2.4.6
env/bin/python - <<'PY'
import av
import numpy as np

depth = (np.arange(48 * 64).reshape(48, 64) * 7).astype(np.uint16)


def write(path: str, codec: str, pixels: str, **options: str) -> None:
    with av.open(path, "w", options=options) as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        frame = av.VideoFrame.from_ndarray(depth, format="gray16le").reformat(format=pixels)
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


try:
    write("refused.mkv", "rawvideo", "gray16be")
except (av.FFmpegError, ValueError) as error:
    print("rawvideo, gray16be: refused:", error)
else:
    raise SystemExit("changed: raw gray16be is written now")

write("raw.mkv", "rawvideo", "gray16be", allow_raw_vfw="1")
with av.open("raw.mkv") as container:
    pixels = container.streams.video[0].codec_context.pix_fmt
    packet = bytes(next(container.demux(video=0)))
print("with allow_raw_vfw=1: bytes right:", packet == depth.astype(">u2").tobytes(), "- read back as", pixels)
assert packet == depth.astype(">u2").tobytes() and pixels == "rgb555le", "changed"

write("ffv1.mkv", "ffv1", "gray16le")
with av.open("ffv1.mkv") as container:
    back = next(container.decode(video=0)).to_ndarray()
print("ffv1, gray16le: exact:", np.array_equal(back, depth))
assert np.array_equal(back, depth), "changed"
PY
echo "as described"
