"""What is said where the packages of the extra are not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bodystream.cli import main as cli
from bodystream.errors import MissingDependencyError
from bodystream.pipelines.recording.recorder import TakeRecorder
from bodystream.takes.packages import require_mcap


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("mcap.writer", "mcap"),
        ("mcap_protobuf.schema", "mcap-protobuf"),
        ("foxglove_schemas_protobuf.RawImage_pb2", "foxglove-schemas-protobuf"),
        ("lz4.frame", "lz4"),
        ("zstandard", "zstandard"),
    ],
)
def test_each_package_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bodystream\[mcap\]'") as raised:
        require_mcap()
    assert raised.value.package == package


def test_a_recording_says_so_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    with pytest.raises(MissingDependencyError, match="mcap is needed for takes"):
        TakeRecorder(tmp_path / "take.mcap")
    for words in (
        ("record", "--source", "synthetic", str(tmp_path / "take.mcap")),
        ("live", "--headless", "--record", str(tmp_path / "take.mcap")),
        ("live", "--headless", "--source", f"take:{tmp_path / 'take.mcap'}"),
    ):
        assert cli.main(list(words)) == 2
        assert "pip install 'bodystream[mcap]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
