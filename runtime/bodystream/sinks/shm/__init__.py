"""The newest pose and surface in shared memory, for programs on this machine that are not Python: include/bodystream.h.

The header is where the layout is written down; `layout` repeats it for numpy, and a test compares the two.
"""

from bodystream.sinks.shm.layout import ABI, FACE_CAPACITY, MOST_VERTICES, VERTEX_CAPACITY, PoseFlag, SurfaceFlag
from bodystream.sinks.shm.reader import ReadPose, ReadSurface, ShmReader, SurfaceTooLargeError, WriterGoneError
from bodystream.sinks.shm.segment import check_name, published_names
from bodystream.sinks.shm.writer import ShmWriter, pose_record, posed_record, upright

__all__ = [
    "ABI",
    "FACE_CAPACITY",
    "MOST_VERTICES",
    "VERTEX_CAPACITY",
    "PoseFlag",
    "ReadPose",
    "ReadSurface",
    "ShmReader",
    "ShmWriter",
    "SurfaceFlag",
    "SurfaceTooLargeError",
    "WriterGoneError",
    "check_name",
    "pose_record",
    "posed_record",
    "published_names",
    "upright",
]
