"""The reader of OSC packets: what independent writers write, what is broken, and what nobody would send."""

from __future__ import annotations

import math
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oscpy import parser as oscpy_parser
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from bodystream.sources.headset.osc import OscMessage, OscPacket, read_osc
from helpers.osc_reference import encode_bundle, encode_message

ARGUMENTS = st.lists(
    st.one_of(
        st.integers(-(2**31), 2**31 - 1),
        st.floats(width=32, allow_nan=False),
        st.text(st.characters(min_codepoint=1, max_codepoint=0x24F), max_size=12),
        st.binary(min_size=1, max_size=9),
        st.booleans(),
        st.none(),
    ),
    max_size=6,
)
NAMES = st.text("/abcXYZ09_.", max_size=14).map(lambda name: f"/{name}")


@settings(max_examples=150, deadline=None)
@given(NAMES, ARGUMENTS)
def test_what_python_osc_writes_is_read(address: str, arguments: list[Any]) -> None:
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    packet = read_osc(builder.build().dgram)
    assert packet.problem == "" and [m.address for m in packet.messages] == [address]
    assert packet.messages[0].arguments == tuple(arguments)
    assert len(packet.messages[0].types) == len(arguments)


def test_what_oscpy_writes_is_read() -> None:
    written, _ = oscpy_parser.format_message("/VMC/Ext/T", [1.5, 3, b"abcd", b"abc"], encoding="utf8")
    assert read_osc(written).messages == (OscMessage("/VMC/Ext/T", "fiss", (1.5, 3, "abcd", "abc")),)


def test_bundles_within_bundles_are_read_in_order_whatever_their_time() -> None:
    inner = OscBundleBuilder(int(time.time()) + 86_400)
    inner.add_content(OscMessageBuilder("/b").build())
    outer = OscBundleBuilder(0)
    outer.add_content(OscMessageBuilder("/a").build())
    outer.add_content(inner.build())
    outer.add_content(OscMessageBuilder("/c").build())
    assert [m.address for m in read_osc(outer.build().dgram).messages] == ["/a", "/b", "/c"]
    assert read_osc(encode_bundle()) == OscPacket(())


def test_every_type_of_the_specification_has_its_size() -> None:
    layout = "ifsbhtdScrmTFNI[i]f"
    body = struct.pack(">if", 1, 2.0) + b"str\0" + struct.pack(">i", 3) + b"abc\0" + struct.pack(">qQd", -4, 5, 6.0)
    body += b"sym\0" + struct.pack(">III", 7, 8, 9) + struct.pack(">if", 10, 11.0)
    tags = f",{layout}".encode()
    packet = b"/x\0\0" + tags + b"\0" * (4 - len(tags) % 4) + body
    read = read_osc(packet)
    assert read.problem == ""
    values = (1, 2.0, "str", b"abc", -4, 5, 6.0, "sym", 7, 8, 9, True, False, None, math.inf, 10, 11.0)
    assert read.messages == (OscMessage("/x", layout.replace("[", "").replace("]", ""), values),)
    assert read_osc(b"/old\0\0\0\0").messages == (OscMessage("/old", "", ()),), "as before type tags were wanted"


@pytest.mark.parametrize(
    ("packet", "problem"),
    [
        (b"", "neither a message nor a bundle"),
        (b"GET / HTTP/1.1\r\n\r\n", "neither a message nor a bundle"),
        (b"#bundle\0", "neither a message nor a bundle"),
        (b"#bundle\0" + struct.pack(">Qi", 1, 0), "an element of 0 bytes"),
        (b"#bundle\0" + struct.pack(">Qi", 1, 8) + b"/a\0\0", "an element of 8 bytes in a bundle with 4 left"),
        (b"#bundle\0" + struct.pack(">Q", 1) + b"\0\0", "bytes in a bundle with 0 left"),
        (b"/a", "a string without an end"),
        (b"/a\0\0abc\0", "without type tags"),
        (b"/a\0\0,f\0\0", "unpack_from requires a buffer"),
        (b"/a\0\0,q\0\0", "unknown type 'q'"),
        (b"/a\0\0,b\0\0" + struct.pack(">i", -8), "a blob of -8 bytes"),
        (b"/a\0\0,b\0\0" + struct.pack(">i", 2**31 - 1), "a blob of 2147483647 bytes"),
    ],
)
def test_what_is_broken_is_said(packet: bytes, problem: str) -> None:
    read = read_osc(packet)
    assert read.messages == () and problem in read.problem


def test_a_broken_message_takes_no_other_along() -> None:
    good = encode_message("/a", "f", 1.0)
    read = read_osc(encode_bundle(good, b"/b\0\0,f\0\0", good))
    assert len(read.messages) == 2 and "cannot be read" in read.problem


def test_bundles_are_not_followed_for_ever() -> None:
    packet = encode_message("/a", "i", 1)
    for depth in range(3000):
        packet = encode_bundle(packet)
        if depth < 8:
            assert read_osc(packet).problem == ""
    assert read_osc(packet).problem == "bundles that are 8 deep"


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"/", b"#bundle\0", b"#bundle\0" + b"\0" * 8, b"/a\0\0,"]))
def test_no_bytes_do_harm(junk: bytes, start: bytes) -> None:
    read = read_osc(start + junk)
    assert isinstance(read.problem, str)
    assert all(len(message.types) == len(message.arguments) for message in read.messages)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_packets_with_changed_bytes_do_no_harm(data: st.DataObject) -> None:
    pose = encode_message("/VMC/Ext/Bone/Pos", "sfffffff", "Head", *range(7))
    packet = bytearray(encode_bundle(encode_message("/VMC/Ext/OK", "i", 1), pose, encode_bundle(pose)))
    for _ in range(data.draw(st.integers(1, 6))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packet)))
    read = read_osc(bytes(packet[:cut]))
    assert all(len(message.types) == len(message.arguments) for message in read.messages)
