"""Takes: recordings of all that came in, as MCAP files. What is in one, and the container, for who writes and reads.

Sources read them (`sources.take`, `sources.headset.take`) and `pipelines.recording` writes them.
"""

from bodystream.takes.messages import Event, TakeCamera
from bodystream.takes.reader import TakeMessage, TakeReader
from bodystream.takes.writer import TakeWriter

__all__ = ["Event", "TakeCamera", "TakeMessage", "TakeReader", "TakeWriter"]
