"""`bodystream doctor`: findings with remedies, an exit code that scripts can use, and no check that fails ends it."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import socket
import subprocess
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from bodystream import __version__
from bodystream.bundles import BundleChoice, BundleFile, KnownBundle, Manifest, find_bundle, locate
from bodystream.cli import checks, checks_bundles, checks_machine, checks_packages, checks_warp, doctor
from bodystream.cli.finding import Check, State
from bodystream.errors import BundleError, DeviceError

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of `checks`, as promised to scripts."""

    name: str
    state: State
    found: str
    remedy: str


class Output(msgspec.Struct, forbid_unknown_fields=True):
    """What `bodystream doctor --json` prints."""

    version: str
    ok: bool
    checks: list[Row]


def rows(findings) -> dict[str, Check]:
    return {check.name: check for check in findings}


def write_bundle(folder: Path, content: bytes = b"weights") -> Path:
    """A whole bundle with one file."""
    folder.mkdir(parents=True)
    (folder / "data.bin").write_bytes(content)
    file = BundleFile("data.bin", hashlib.sha256(content).hexdigest(), len(content))
    manifest = Manifest(folder.name, 3, "flow", "CC0-1.0", {"recipe": "by hand"}, [file])
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return folder


@pytest.fixture(scope="module")
def output() -> Output:
    """The real thing, in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-m", "bodystream.cli.main", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    decoded = msgspec.json.decode(result.stdout, type=Output)
    assert result.returncode == (0 if decoded.ok else 1)
    return decoded


def test_json_follows_its_schema(output: Output) -> None:
    assert output.version == __version__
    assert output.ok == all(row.state != "missing" for row in output.checks)
    names = {row.name for row in output.checks}
    assert names >= {
        "python",
        "bodystream",
        "warp",
        "device cpu",
        "kernels",
        "kernel cache",
        "opencv",
        "onnxruntime",
        "providers",
    }
    assert names >= {"tensorrt", "pyopenxr", "libusb-1.0", "pyrealsense2", "bundle person", "recordings"}
    assert names >= {"cryptography", "disk", "port of the viewer", "port of webxr", "provider cuda", "realsense"}


def test_what_is_not_ok_comes_with_a_remedy(output: Output) -> None:
    assert [row.name for row in output.checks if row.state != "ok" and not row.remedy] == []


def test_all_that_is_needed_works_here(output: Output) -> None:
    assert [f"{row.name}: {row.found}" for row in output.checks if row.state == "missing"] == []


def test_versions_are_the_installed_ones(output: Output) -> None:
    import cv2
    import onnxruntime
    import warp as wp

    found = {row.name: row.found for row in output.checks}
    assert found["warp"] == wp.__version__
    assert found["onnxruntime"] == f"{onnxruntime.__version__}, telemetry off"
    assert found["opencv"] == cv2.__version__
    assert "CPUExecutionProvider" in found["providers"]
    assert sys.executable in found["python"]


def test_shipped_bundles_show_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "_SHIPPED", tmp_path)
    write_bundle(tmp_path / "good")
    (write_bundle(tmp_path / "spoiled") / "data.bin").write_bytes(b"weighty")
    found = rows(checks_bundles.check_bundles())
    assert found["bundle good"].state == "ok"
    assert hashlib.sha256(b"weights").hexdigest()[:12] in found["bundle good"].found
    assert found["bundle spoiled"].state == "missing"
    assert "sha256" in found["bundle spoiled"].found


def test_an_installation_without_bundles_is_not_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "_SHIPPED", tmp_path)
    found = rows(checks_bundles.check_bundles())
    for name in ("person", "pose"):
        check = found[f"bundle {name}"]
        assert check.state == "missing" and check.remedy == "pip install --force-reinstall --no-deps bodystream"
    assert list(checks_bundles.check_engines()) == []


def test_a_known_bundle_of_the_second_distribution_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "_FURTHER", "a_package_that_is_nowhere")
    monkeypatch.setitem(checks_bundles.KNOWN, "wide", KnownBundle("flow", "bodystream-bundles"))
    check = rows(checks_bundles.check_bundles())["bundle wide"]
    assert (check.state, check.remedy) == ("optional", "pip install bodystream-bundles")


def test_what_runs_each_network_is_told_with_the_reason() -> None:
    engines = list(checks_bundles.check_engines())
    assert {"engine pose sampler.onnx", "engine flow 28 graphs"} < {check.name for check in engines}
    assert any(check.name.startswith("engine body ") for check in engines)
    for check in engines:
        assert check.state == "ok"
        assert check.found.startswith(("cpu: ", "cuda: ", "openvino: ")) and len(check.found) > 10
    found = rows(checks_bundles.check_bundles())["bundle flow"]
    assert found.state == "ok" and "28 files (6.1 MiB)" in found.found


def test_bundles_of_ones_own_are_looked_at(tmp_path: Path) -> None:
    wrong = write_bundle(tmp_path / "wrong")
    choice = BundleChoice({"person": find_bundle("person").place, "pose": wrong})
    found = rows(checks_bundles.check_choice(choice))
    assert found["chosen person"].state == "ok" and "rig.npz" in found["chosen person"].found
    assert found["chosen pose"].state == "missing" and "not 'pose-sampler'" in found["chosen pose"].found


def test_bundle_folders_of_the_environment_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BODYSTREAM_BUNDLES", os.pathsep.join([str(tmp_path), str(tmp_path / "absent")]))
    found = [check for check in checks_bundles.check_bundles() if check.name == "bundle folder"]
    assert [check.state for check in found] == ["ok", "optional"]


def test_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BODYSTREAM_DATA", raising=False)
    assert rows(checks_machine.check_recordings())["recordings"].state == "optional"
    monkeypatch.setenv("BODYSTREAM_DATA", str(tmp_path / "absent"))
    assert "not a folder" in rows(checks_machine.check_recordings())["recordings"].found
    (tmp_path / "depth").mkdir()
    monkeypatch.setenv("BODYSTREAM_DATA", str(tmp_path))
    assert rows(checks_machine.check_recordings())["recordings"] == Check("recordings", "ok", f"{tmp_path} (1 folders)")


EXTRAS = (
    ("tensorrt", "tensorrt"),
    ("cryptography", "webxr"),
    ("pyopenxr", "openxr"),
    ("mcap", "mcap"),
    ("eclipse-zenoh", "zenoh"),
    ("ezc3d", "c3d"),
    ("lzfse", "recordings"),
    ("pyzmq", "zmq"),
)


def test_absent_extras_are_optional_and_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tensorrt", "cryptography.x509", "xr", "mcap.writer", "zmq", "zenoh", "ezc3d", "lzfse"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(checks_packages, "distribution_version", lambda name: None)
    found = rows(checks_packages.check_extras())
    for name, extra in EXTRAS:
        assert (found[name].state, found[name].found) == ("optional", "not installed")
        assert f"pip install 'bodystream[{extra}]'" in found[name].remedy


def test_an_extra_that_does_not_import_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str):
        raise ImportError("libnvinfer.so: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setattr(checks_packages, "distribution_version", lambda name: "11.4.0")
    found = rows(checks_packages.check_extras())["tensorrt"]
    assert found.state == "optional"
    assert found.found == "11.4.0, cannot be imported: libnvinfer.so: cannot open shared object file"
    assert "bodystream" not in found.remedy  # it is installed: the extra would change nothing


def test_tensorrt_says_its_version_and_gpu_or_what_is_wrong_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bodystream.engines import tensorrt_gpu
    from helpers.tensorrt_stand_in import HostGpu, Machine

    machine = Machine(monkeypatch, tmp_path)
    monkeypatch.setattr(tensorrt_gpu, "gpu_of", lambda device: machine.gpu)
    found = rows(checks_packages.check_extras())["tensorrt"]
    assert found.state == "ok" and found.found == "11.4.0.106 on Stand-in (sm_90), with --provider tensorrt"
    machine.has(HostGpu(), "10.15.1")
    found = rows(checks_packages.check_extras())["tensorrt"]
    assert found.state == "optional" and "10.15.1 is installed, wanted 11 or newer" in found.found


@pytest.mark.parametrize(
    "content",
    [
        "raise AttributeError(\"'NoneType' object has no attribute 'glXGetCurrentContext'\")",  # as on Debian
        "raise ImportError('Unable to load OpenGL or GL library')",
        "raise OSError('libGL.so.1: cannot open shared object file')",
    ],
)
def test_a_system_without_opengl_is_told_of_the_system_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "xr.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xr", raising=False)
    monkeypatch.setattr(checks_packages, "distribution_version", lambda name: "1.1.6501")
    found = rows(checks_packages.check_extras())["pyopenxr"]
    assert (found.state, found.found) == ("optional", "1.1.6501, and the OpenGL library is missing")
    assert "apt-get install libgl1" in found.remedy and "pip install" not in found.remedy


@pytest.mark.parametrize(
    ("builds", "has_cuda", "state", "said"),
    [
        ({"onnxruntime": "1.31.1"}, False, "optional", "pip install"),
        ({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}, True, "ok", ""),
        ({"onnxruntime-gpu": "1.31.1"}, True, "ok", ""),
        ({"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}, True, "optional", "onnxruntime==1.31.1"),
    ],
)
def test_which_build_of_onnxruntime_counts(builds: dict, has_cuda: bool, state: str, said: str) -> None:
    check = checks_packages.check_cuda_build(builds, has_cuda)
    assert check.state == state and said in check.remedy and "uninstall" not in check.remedy


def test_the_build_without_cuda_over_the_one_with(monkeypatch: pytest.MonkeyPatch) -> None:
    from bodystream.engines import onnx_runtime

    builds = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
    monkeypatch.setattr(onnx_runtime, "installed_builds", lambda: builds)
    check = checks_packages.check_cuda_build(builds, False)
    assert "written last" in check.found
    assert check.remedy == "pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1"


def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = checks_machine.check_port("port", port, "give another")
    assert busy == Check("port", "optional", f"{port}: another program listens on it", "give another")
    assert checks_machine.check_port("port", port, "give another") == Check("port", "ok", f"{port} is free")


@pytest.mark.parametrize(("free", "state"), [(0, "missing"), (1 << 30, "optional"), (50 << 30, "ok")])
def test_disk(free: int, state: str, tmp_path: Path) -> None:
    found = checks_machine.disk_finding(tmp_path, free)
    assert found.state == state and bool(found.remedy) is (state != "ok")


def test_kernels_that_do_not_load_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from bodystream.pipelines import warmup

    def fail(*_: object) -> None:
        raise DeviceError("the kernels of bodystream.pose cannot be built for cpu: broken. Empty /cache")

    monkeypatch.setattr(warmup, "load_kernels", fail)
    found = rows(checks_warp.check_kernels())["kernels"]
    assert found.state == "missing" and "bodystream.pose cannot be built" in found.found


def test_a_kernel_cache_that_is_not_writable_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code = (
        "from bodystream.pipelines import warmup; warmup.KERNEL_MODULES = ('bodystream.avatar.kernels',)\n"
        "warmup.warm_up.__defaults__ = (None, warmup.KERNEL_MODULES)\n"
        "from bodystream.cli.checks_warp import check_kernels\n"
        "for check in check_kernels(): print(check.name, check.state, check.found, check.remedy, sep='|')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(RUNTIME), "WARP_CACHE_PATH": str(tmp_path / "file" / "cache")},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["kernels", "ok"], ["kernel cache", "missing"]]
    assert "not writable" in lines[1][2] and "WARP_CACHE_PATH" in lines[1][3]


def test_the_table_fits_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    findings = [Check("port of the viewer", "optional", "/a/long" * 40, "do " * 60), Check("b", "ok", "fine")]
    monkeypatch.setattr(doctor, "run_checks", lambda: findings)
    doctor.Doctor().run()
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


class FakePlugin(types.ModuleType):
    """Stands for the package onnxruntime_ep_openvino."""

    @staticmethod
    def get_library_path() -> str:
        return "libplugin.so"

    @staticmethod
    def get_ep_name() -> str:
        return "OpenVINOExecutionProvider"


class FakeRuntime:
    """Stands for onnxruntime with that plugin: `devices` are what it offers once it is registered."""

    def __init__(self, devices: list[str], fault: Exception | None = None) -> None:
        self._devices, self._fault = devices, fault

    def register_execution_provider_library(self, name: str, path: str) -> None:
        if self._fault is not None:
            raise self._fault

    def get_ep_devices(self) -> list:
        kinds = [("CPUExecutionProvider", "CPU"), *(("OpenVINOExecutionProvider", name) for name in self._devices)]
        return [SimpleNamespace(ep_name=ep, device=SimpleNamespace(type=SimpleNamespace(name=n))) for ep, n in kinds]


@pytest.mark.parametrize(
    ("runtime", "state", "found"),
    [
        (FakeRuntime(["CPU", "GPU"]), "ok", "on CPU, GPU"),
        (FakeRuntime([]), "optional", "offers no device here"),
        (FakeRuntime([], RuntimeError("wrong version\nmore")), "optional", "does not load: wrong version"),
    ],
)
def test_the_openvino_plugin_is_tried(runtime, state: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", FakePlugin("onnxruntime_ep_openvino"))
    check = checks_packages._check_openvino(runtime)
    assert check.state == state
    assert check.found.endswith(found)
    assert bool(check.remedy) is (state != "ok")


def test_without_the_openvino_plugin_an_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", None)
    check = checks_packages._check_openvino(FakeRuntime([]))
    assert check.state == "optional"
    assert "bodystream[openvino]" in check.remedy


def test_cameras_are_what_their_source_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from bodystream.sources.realsense import doctor as realsense
    from bodystream.sources.realsense.doctor import Finding

    said = [
        Finding("libusb-1.0", "not found", False, "install it"),
        Finding("pyrealsense2", "2.59.1", True),
        Finding("realsense", "D435 812, USB 3.2", True),
        Finding("realsense", "D415 17, USB 2.1", False, "Use a USB 3 cable"),
    ]
    monkeypatch.setattr(realsense, "diagnose", lambda: said)
    assert list(checks_machine.check_cameras()) == [
        Check("libusb-1.0", "optional", "not found", "install it"),
        Check("pyrealsense2", "ok", "2.59.1", ""),
        Check("realsense", "ok", "D435 812, USB 3.2", ""),
        Check("realsense", "optional", "D415 17, USB 2.1", "Use a USB 3 cable"),
    ]


def test_a_kernel_that_does_not_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import warp as wp

    def no_compiler(*arguments, **options):
        raise RuntimeError("the compiler is broken\nsecond line")

    monkeypatch.setattr(wp, "launch", no_compiler)
    found = rows(checks_warp.check_warp())["device cpu"]
    assert found.state == "missing"
    assert "a kernel failed: the compiler is broken" in found.found
    assert "second line" not in found.found


def test_a_kernel_that_computes_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import warp as wp

    monkeypatch.setattr(wp, "launch", lambda *arguments, **options: None)
    assert "a kernel gave [0.0, 0.0]" in rows(checks_warp.check_warp())["device cpu"].found


@pytest.mark.parametrize(
    ("error", "required", "state"),
    [
        (ImportError("no module"), True, "missing"),
        (ImportError("no module"), False, "optional"),
        (OSError("strange"), True, "missing"),
        (BundleError("strange"), False, "optional"),
    ],
)
def test_a_check_that_fails_becomes_a_finding(error, required: bool, state: str, monkeypatch) -> None:
    def fall_over():
        yield Check("before", "ok", "seen")
        raise error

    monkeypatch.setattr(checks, "CHECKS", (("broken", fall_over, required), ("after", lambda: iter(()), True)))
    findings = checks.run_checks()
    assert findings[-1].name == "broken"
    assert findings[-1].state == state
    assert str(error) in findings[-1].found


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("optional", 0), ("missing", 1)])
@pytest.mark.parametrize("as_json", [False, True])
def test_exit_code(state, code: int, as_json: bool, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    finding = Check("a [thing]", state, "found /some/[bold]path", "do this")
    monkeypatch.setattr(doctor, "run_checks", lambda: [finding])
    assert doctor.Doctor(json=as_json).run() == code
    shown = capsys.readouterr().out
    assert "found /some/[bold]path" in shown
    assert "do this" in shown
    if as_json:
        assert json.loads(shown)["ok"] is (code == 0)
    else:
        assert ("everything that is needed works" in shown) is (code == 0)
        assert ("does not work: a [thing]" in shown) is (code == 1)
