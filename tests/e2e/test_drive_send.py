"""`bodystream drive --send` and `--headset vmc`, as commands."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from bodystream.cli.main import main
from helpers.headset_motions import walking
from helpers.headset_takes import samples_of, write_table
from helpers.osc_reference import decode
from helpers.vmc_receiver import HUMANOID_PARENTS, Marionette


def test_poses_leave_the_command_while_it_drives(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "walk.csv", samples_of(walking(0.5)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10.0)
        port = receiver.getsockname()[1]
        sends = [f"vmc:127.0.0.1:{port}", "vrchat:127.0.0.1:9?rate_hz=30", "zmq:0"]
        words = [word for send in sends for word in ("--send", send)]
        code = main(["drive", "--headset", f"trace:{tmp_path / 'walk.csv'}", "--pace", "all", "--headless", *words])
        assert code == 0
        said = capfd.readouterr().err
        counted = re.findall(r"^sent (\d+) poses to (vmc|vrchat|zmq):127\.0\.0\.1:\d+$", said, re.MULTILINE)
        assert [kind for _, kind in counted] == ["vmc", "vrchat", "zmq"] and all(int(n) for n, _ in counted)
        datagrams = [receiver.recv(65536) for _ in range(2 * int(counted[0][0]))]
    seen = Marionette().take(message for datagram in datagrams for message in decode(datagram))
    assert set(seen.local) == {"root", *HUMANOID_PARENTS} and "HMD" in seen.devices


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--headset", "vmc:{port}"], "vmc: port {port} at 127.0.0.1 is in use"),
        (["--headset", "vmc:0", "--send", "vmc:127.0.0.1"], "vmc has to be told host and port"),
        (
            ["--headset", "vmc:0", "--send", "mvc:127.0.0.1:1"],
            "there is no receiver 'mvc:127.0.0.1:1': did you mean vmc",
        ),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert main(["drive", "--headless", *(word.format(port=port) for word in words)]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message.format(port=port) in line
