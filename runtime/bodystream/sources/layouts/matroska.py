"""What a Matroska file holds and where (RFC 8794, RFC 9559), without reading its frames.

A minute of an Azure Kinect is about 3 GB. Demuxers read a file from end to end to list its frames; here the headers of
its elements are walked, and a frame is read when it is asked for. Video tracks without lacing or content encoding, as
depth cameras write them; every length is checked against the element around it before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bodystream.errors import InputError
from bodystream.sources.layouts.containers import PieceReader
from bodystream.sources.layouts.images import DamagedFileError

__all__ = ["Block", "MatroskaFile", "Track", "walk"]

_EBML, _SEGMENT, _INFO, _TIMESTAMP_SCALE = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x2AD7B1
_TRACKS, _TRACK, _NUMBER, _UID, _NAME = 0x1654AE6B, 0xAE, 0xD7, 0x73C5, 0x536E
_CODEC, _PRIVATE, _VIDEO, _WIDTH, _HEIGHT = 0x86, 0x63A2, 0xE0, 0xB0, 0xBA
_FOURCC, _ENCODINGS = 0x2EB524, 0x6D80
_ATTACHMENTS, _FILE, _FILE_NAME, _FILE_DATA = 0x1941A469, 0x61A7, 0x466E, 0x465C
_TAGS, _TAG, _SIMPLE, _TAG_NAME, _TAG_STRING = 0x1254C367, 0x7373, 0x67C8, 0x45A3, 0x4487
_CLUSTER, _TIMESTAMP, _SIMPLE_BLOCK, _GROUP, _BLOCK = 0x1F43B675, 0xE7, 0xA3, 0xA0, 0xA1
_TOP = {_INFO, _TRACKS, _ATTACHMENTS, _TAGS, _CLUSTER, 0x114D9B74, 0x1C53BB6B, 0x1043A770}

_MAX_BLOCKS = 600_000  # two hours of three tracks
_MAX_ELEMENTS = 3_000_000
_MAX_SMALL = 64 << 10
_MAX_FILE_DATA = 1 << 20
_MAX_ATTACHMENTS = 32
_MAX_TRACKS = 64
_MAX_TAGS = 1000


@dataclass(frozen=True, slots=True)
class Block:
    """One frame: its time [ns], and where its bytes are."""

    time_ns: int
    offset: int
    size: int


@dataclass(slots=True)
class Track:
    """One track: `fourcc` is that of a raw or VfW codec, else empty; `encoded` = compressed once more."""

    number: int = 0
    uid: int = 0
    name: str = ""
    codec: str = ""
    fourcc: bytes = b""
    width: int = 0
    height: int = 0
    encoded: bool = False
    blocks: list[Block] = field(default_factory=list)


@dataclass(slots=True)
class MatroskaFile:
    """What was found; `cut` = the file ends within an element, as after a power cut."""

    tracks: list[Track] = field(default_factory=list)
    attachments: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    scale_ns: int = 1_000_000
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Element:
    kind: int
    start: int  # of its content
    end: int
    open: bool  # without a length: it ends where an element of its own level begins


def walk(reader: PieceReader) -> MatroskaFile:
    """List the tracks, frames, attachments and tags of a file.

    Raises:
        InputError: it is no Matroska file, or damaged beyond its end being cut off.
    """
    return _Walk(reader).run()


class _Walk:
    def __init__(self, reader: PieceReader) -> None:
        self._reader = reader
        self._found = MatroskaFile()
        self._elements = 0
        self._blocks = 0

    def run(self) -> MatroskaFile:
        path, size = self._reader.path, self._reader.size
        head = self._element(0, size)
        if head is None or head.kind != _EBML or head.open:
            raise InputError(f"{path}: is no Matroska file")
        segment = self._element(head.end, size)
        if segment is None or segment.kind != _SEGMENT:
            raise InputError(f"{path}: holds no Matroska segment")
        for element in self._children(segment):
            if element.kind == _INFO:
                self._info(element)
            elif element.kind == _TRACKS:
                for entry in self._children(element):
                    if entry.kind == _TRACK and len(self._found.tracks) < _MAX_TRACKS:
                        self._found.tracks.append(self._track(entry))
            elif element.kind == _ATTACHMENTS:
                self._attachments(element)
            elif element.kind == _TAGS:
                self._tags(element)
            elif element.kind == _CLUSTER:
                if not self._found.tracks:
                    raise InputError(f"{path}: its frames begin before its tracks are described")
                self._cluster(element)
        return self._found

    def _element(self, at: int, limit: int) -> _Element | None:
        """The element that begins here; None where less than a header is left."""
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise InputError(f"{self._reader.path}: holds more than {_MAX_ELEMENTS} elements")
        head = self._reader.read(at, min(12, max(0, limit - at)))
        if len(head) < 2:
            return None
        id_bytes = 9 - head[0].bit_length()
        if id_bytes > 4:
            raise DamagedFileError(f"{self._reader.path}: damaged at byte {at} (no Matroska element)")
        if id_bytes >= len(head):
            return None
        size_bytes = 9 - head[id_bytes].bit_length()
        if size_bytes > 8:
            raise DamagedFileError(f"{self._reader.path}: damaged at byte {at} (no length)")
        start = id_bytes + size_bytes
        if start > len(head):
            return None
        kind = int.from_bytes(head[:id_bytes], "big")
        mask = (1 << (7 * size_bytes)) - 1
        length = int.from_bytes(head[id_bytes:start], "big") & mask
        if length == mask:
            return _Element(kind, at + start, limit, True)
        return _Element(kind, at + start, at + start + length, False)

    def _children(self, parent: _Element) -> Iterator[_Element]:
        at = parent.start
        end = min(parent.end, self._reader.size)
        self._found.cut |= parent.end > self._reader.size
        while at < end:
            try:
                element = self._element(at, end)
            except DamagedFileError:
                if parent.kind == _SEGMENT and self._blocks:
                    self._found.cut = True  # what was written when the power went
                    return
                raise
            if element is None:
                self._found.cut = True
                return
            if parent.open and parent.kind != _SEGMENT and element.kind in _TOP:
                return
            if element.open and element.kind != _CLUSTER:
                raise DamagedFileError(f"{self._reader.path}: damaged at byte {at} (an element without a length)")
            if element.end > parent.end and not parent.open:
                raise DamagedFileError(
                    f"{self._reader.path}: damaged at byte {at} (an element beyond the one around it)"
                )
            yield element
            at = self._end_of(element) if element.open else element.end

    def _end_of(self, cluster: _Element) -> int:
        """Where a cluster without a length ends."""
        last = cluster.start
        for child in self._children(cluster):
            last = child.end
        return last

    def _integer(self, element: _Element) -> int:
        if element.end - element.start > 8:
            raise DamagedFileError(f"{self._reader.path}: damaged at byte {element.start} (an integer of that length)")
        return int.from_bytes(self._bytes(element, 8), "big")

    def _bytes(self, element: _Element, limit: int) -> bytes:
        size = element.end - element.start
        if size > limit:
            raise DamagedFileError(
                f"{self._reader.path}: damaged at byte {element.start} ({size} bytes where few belong)"
            )
        return self._reader.read(element.start, size)

    def _text(self, element: _Element) -> str:
        return self._bytes(element, _MAX_SMALL).rstrip(b"\0").decode("utf-8", errors="replace")

    def _info(self, parent: _Element) -> None:
        for element in self._children(parent):
            if element.kind == _TIMESTAMP_SCALE:
                self._found.scale_ns = self._integer(element)
                if not 1 <= self._found.scale_ns <= 10**9:
                    raise InputError(f"{self._reader.path}: a time step of {self._found.scale_ns} ns is not plausible")

    def _track(self, parent: _Element) -> Track:
        track = Track()
        private = b""
        for element in self._children(parent):
            if element.kind == _NUMBER:
                track.number = self._integer(element)
            elif element.kind == _UID:
                track.uid = self._integer(element)
            elif element.kind == _NAME:
                track.name = self._text(element)
            elif element.kind == _CODEC:
                track.codec = self._text(element)
            elif element.kind == _PRIVATE:
                private = self._bytes(element, _MAX_FILE_DATA)
            elif element.kind == _ENCODINGS:
                track.encoded = True
            elif element.kind == _VIDEO:
                for part in self._children(element):
                    if part.kind == _WIDTH:
                        track.width = self._integer(part)
                    elif part.kind == _HEIGHT:
                        track.height = self._integer(part)
                    elif part.kind == _FOURCC:
                        track.fourcc = self._bytes(part, 4)
        if track.codec == "V_MS/VFW/FOURCC":
            track.fourcc = private[16:20]  # of the BITMAPINFOHEADER
        return track

    def _attachments(self, parent: _Element) -> None:
        for entry in self._children(parent):
            if entry.kind != _FILE or len(self._found.attachments) >= _MAX_ATTACHMENTS:
                continue
            name, data = "", None
            for element in self._children(entry):
                if element.kind == _FILE_NAME:
                    name = self._text(element)
                elif element.kind == _FILE_DATA and element.end - element.start <= _MAX_FILE_DATA:
                    data = self._bytes(element, _MAX_FILE_DATA)
            if data is not None:
                self._found.attachments[name] = data

    def _tags(self, parent: _Element) -> None:
        for tag in self._children(parent):
            if tag.kind != _TAG:
                continue
            for simple in self._children(tag):
                if simple.kind == _SIMPLE and len(self._found.tags) < _MAX_TAGS:
                    parts = {part.kind: part for part in self._children(simple)}
                    if _TAG_NAME in parts and _TAG_STRING in parts:
                        self._found.tags[self._text(parts[_TAG_NAME])] = self._text(parts[_TAG_STRING])

    def _cluster(self, parent: _Element) -> None:
        base = 0
        for element in self._children(parent):
            if element.kind == _TIMESTAMP:
                base = self._integer(element)
            elif element.kind == _SIMPLE_BLOCK:
                self._block(element, base)
            elif element.kind == _GROUP:
                for inner in self._children(element):
                    if inner.kind == _BLOCK:
                        self._block(inner, base)

    def _block(self, element: _Element, base: int) -> None:
        self._blocks += 1
        if self._blocks > _MAX_BLOCKS:
            raise InputError(f"{self._reader.path}: holds more than {_MAX_BLOCKS} frames")
        if element.end > self._reader.size:
            self._found.cut = True
            return
        head = self._reader.read(element.start, min(12, element.end - element.start))
        number_bytes = 9 - head[0].bit_length() if head else 9
        if number_bytes > 8 or number_bytes + 3 > len(head):
            raise DamagedFileError(f"{self._reader.path}: damaged at byte {element.start} (a frame without a track)")
        number = int.from_bytes(head[:number_bytes], "big") & ((1 << (7 * number_bytes)) - 1)
        relative = int.from_bytes(head[number_bytes : number_bytes + 2], "big", signed=True)
        if head[number_bytes + 2] & 0x06:
            raise InputError(f"{self._reader.path}: has several frames in one block, as no depth camera writes them")
        start = element.start + number_bytes + 3
        time_ns = (base + relative) * self._found.scale_ns
        for track in self._found.tracks:
            if track.number == number and 0 <= time_ns < 1 << 62:
                track.blocks.append(Block(time_ns, start, element.end - start))
                break
