"""Results for any number of pages and programs: a skin once, motions as they come, the newest wins for each client."""

from bodystream.sinks.stream.body import BodyEncoder, CarriedNodes
from bodystream.sinks.stream.hub import StreamHub, StreamLimits
from bodystream.sinks.stream.subject import Figures, Update
from bodystream.sinks.stream.surface import SurfaceEncoder, SurfaceParts

__all__ = [
    "BodyEncoder",
    "CarriedNodes",
    "Figures",
    "StreamHub",
    "StreamLimits",
    "SurfaceEncoder",
    "SurfaceParts",
    "Update",
]
