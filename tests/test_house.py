"""The house rules that a reader relies on: file sizes, kernels apart, pinned versions, a README whose commands work."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from bodystream import __version__
from bodystream.cli import main as cli
from bodystream.errors import BodystreamError
from helpers.kernel_lint import MAX_PARAMETERS, kernel_problems, kernels_of

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = ROOT / "runtime" / "bodystream"
MODULES = sorted(RUNTIME.rglob("*.py"))
PACKAGES = ("runtime", "training", "export", "benchmarks")
ALL_MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
KERNEL_MODULES = [path for path in ALL_MODULES if re.fullmatch(r"(.*_)?kernels\.py", path.name)]
MAX_LINES = 400


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in ALL_MODULES}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_two_files_of_tests_have_one_name() -> None:
    """They are imported by their names alone: of two that share one, all of a run's tests end in an error."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert {name for name, count in names.items() if count > 1} == set()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_modules_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{relative(path)} has no docstring"
    names = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
             if isinstance(target, ast.Name)}  # fmt: skip
    if path not in KERNEL_MODULES and path.name != "__init__.py":
        assert "__all__" in names, f"{relative(path)} does not say what is public in __all__"


@pytest.mark.parametrize("path", KERNEL_MODULES, ids=relative)
def test_kernel_modules_hold_kernels_only(path: Path) -> None:
    """Functions and structs of Warp and constants, without control flow; no kernel is built for gradients."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Expr)
    strange = [ast.unparse(node).splitlines()[0] for node in tree.body if not isinstance(node, allowed)]
    assert strange == []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            assert node.module != "__future__", "Warp needs real annotations"
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            assert len(decorators) == 1, f"{node.name} is not one of Warp's"
            assert decorators[0] in {"wp.func", "wp.struct"} or (
                decorators[0].startswith("wp.kernel(") and "enable_backward=False" in decorators[0]
            ), f"{node.name} is decorated by {decorators[0]}"


@pytest.mark.parametrize("path", KERNEL_MODULES, ids=relative)
def test_kernels_have_heads_that_a_reader_can_trust(path: Path) -> None:
    assert kernel_problems(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [path for path in ALL_MODULES if path not in KERNEL_MODULES], ids=relative)
def test_there_are_no_kernels_outside_of_kernel_modules(path: Path) -> None:
    assert [kernel.name for kernel in kernels_of(ast.parse(path.read_text(encoding="utf-8")))] == []


GOOD_KERNEL = '''
@wp.struct
class Cloud:
    """Points of a surface."""

    points: wp.array(dtype=wp.vec3)  # (N,) [m]


@wp.kernel(enable_backward=False)
def shift(
    begin: wp.int32,
    # Model:
    cloud: Cloud,
    offsets: wp.array(dtype=wp.vec3),  # (N,) [m]
    # Options:
    scale: float,
    # Out (added to):
    moved_out: wp.array(dtype=wp.vec3),  # (N,) [m]
):
    i = begin + wp.tid()
    wp.atomic_add(moved_out, i, cloud.points[i] + scale * offsets[i])
'''


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("vec3),  # (N,) [m]\n    # Options", "vec3),\n    # Options", "offsets is an array without its shape"),
        ("(N,) [m]\n    # Options", "(N,)\n    # Options", "offsets holds real numbers and says neither its unit"),
        ("vec3)  # (N,) [m]", "vec3)  # [m]", "Cloud: points is an array without its shape"),
        ("    # Model:\n", "", "cloud is in no group"),
        ("    # Options:\n", "    # what else there is\n", "is no heading of a group"),
        ("    # Out (added to):\n", "", "there is no group `# Out:`"),
        ("moved_out", "moved", "moved is in group `# Out (added to):`"),
        ("scale: float,", "scale_out: float,", "scale_out is in group `# Options:`"),
        ("    # Options:\n    scale: float,\n", "", ""),
        ("[m]\n):\n", "[m]\n    # Options:\n    late: float,\n):\n", "stands after the outputs"),
        ("scale: float,", "scale: float, other: float,", "other must stand on a line of its own"),
        ("    scale: float,\n", "".join(f"    s{k}: float,\n" for k in range(MAX_PARAMETERS - 3)), "13 parameters, at"),
        ("    wp.atomic_add(", "    offsets[i] = offsets[i] * 2.0\n    wp.atomic_add(", "offsets is written to"),
        ("    wp.atomic_add(", "    cloud.points[i] += offsets[i]\n    wp.atomic_add(", "cloud is written to"),
        ("atomic_add(moved_out", "atomic_add(offsets", "offsets is written to"),
    ],
)  # fmt: skip
def test_the_lint_of_kernels_sees_what_is_wrong(right: str, wrong: str, problem: str) -> None:
    assert kernel_problems(GOOD_KERNEL) == []
    assert right in GOOD_KERNEL
    problems = kernel_problems(GOOD_KERNEL.replace(right, wrong))
    assert any(problem in found for found in problems) if problem else problems == []


def requirement_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return match.group().lower().replace("_", "-")


def pins() -> dict[str, str]:
    """Name to version of `constraints.txt`."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line)
            assert match, f"constraints.txt: {line!r} is not an exact pin"
            found[requirement_name(match.group(1))] = match.group(2)
    return found


def test_every_dependency_is_pinned() -> None:
    described = project()
    wanted = [*described["dependencies"], *(r for extra in described["optional-dependencies"].values() for r in extra)]
    assert {requirement_name(r) for r in wanted} - set(pins()) == set()
    assert pins()["torch"] == "2.13.0"


def test_extras_are_those_that_are_documented() -> None:
    extras = set(project()["optional-dependencies"])
    assert extras >= {"realsense", "openxr", "webxr", "openvino", "tensorrt", "train", "export", "dev"}


DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "mcap_protobuf": "mcap-protobuf-support",
    "pythonosc": "python-osc",
    "warp": "warp-lang",
    "xr": "pyopenxr",
    "zenoh": "eclipse-zenoh",
    "zmq": "pyzmq",
}
EXTRAS_OF_THE_RUNTIME = (
    "realsense", "openxr", "webxr", "c3d", "recordings", "mcap", "zmq", "zenoh", "openvino", "tensorrt",
)  # fmt: skip


def imported_distributions(nodes: Iterable[ast.AST]) -> set[str]:
    """Distributions behind the absolute imports among `nodes`, without the standard library and this project."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    names -= {"bodystream", "bodystream_bench", *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(name, name).replace("_", "-") for name in names}


def test_runtime_depends_on_what_it_imports_and_on_nothing_of_training() -> None:
    """Imports at the top of a module are needed by everyone; those within functions may belong to an extra."""
    described = project()
    declared = {requirement_name(r) for r in described["dependencies"]}
    extras = {requirement_name(r) for name in EXTRAS_OF_THE_RUNTIME for r in described["optional-dependencies"][name]}
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in MODULES]
    assert imported_distributions(node for tree in trees for node in tree.body) - declared == set()
    assert imported_distributions(node for tree in trees for node in ast.walk(tree)) - declared - extras == set()
    assert not declared & {"torch", "anny", "safetensors", "open3d", "onnxruntime-gpu"}


def test_licence_and_changelog() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert re.search(r"^## \[Unreleased\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def make_targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    return set(phony.group(1).split())


def test_make_targets_exist_and_parse() -> None:
    assert make_targets() >= {"demo", "test", "soak", "bench", "lint", "clean", "help"}
    for target in make_targets():
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30)


def test_continuous_integration_runs_lint_and_tests() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "set -euo pipefail" in script
    assert script[-2:] == ["make lint", "make test"]
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


def documented_commands() -> list[str]:
    """Lines of code blocks of README and docs that call `bodystream` or `make`."""
    commands = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        if page.is_file():
            for block in re.findall(
                r"^```[a-z]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
            ):
                lines = block.replace("\\\n", " ").splitlines()
                commands += [line.strip().removeprefix("$ ") for line in lines]
    return sorted({line for line in commands if re.match(r"(bodystream|make)\s", line)})


def problem_of(command: str) -> str:
    """Why a documented command cannot be meant, or nothing; options are read, and nothing is run."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        return "" if set(targets) <= make_targets() else f"no such target: {command}"
    words = [word for word in words[1:] if word != "--debug"]
    if words in (["--help"], ["--version"]):
        return ""
    for entry in cli.COMMANDS:
        if tuple(words[: len(entry.words)]) == entry.words:
            try:
                cli.parse(entry, words[len(entry.words) :])
            except BodystreamError:
                return ""  # the options exist; the folder or device of the example need not be here
            except SystemExit as left:
                return "" if left.code == 0 else f"options are refused: {command}"
            return ""
    return f"no such command: {command}"


def test_documented_commands_work() -> None:
    if not (ROOT / "README.md").is_file():
        pytest.skip("there is no README.md yet")
    commands = documented_commands()
    assert {"make demo", "make test"} <= {" ".join(shlex.split(command, comments=True)) for command in commands}
    assert [problem for problem in map(problem_of, commands) if problem] == []


@pytest.mark.parametrize("command", ["make demos", "bodystream dance", "bodystream doctor --frobnicate"])
def test_a_wrong_command_would_be_noticed(command: str) -> None:
    assert problem_of(command)


def test_pins_install_on_the_oldest_python() -> None:
    """Debian 12 has 3.11.2: a package that wants 3.11.5 ends `make test` there before it begins."""
    from importlib import metadata

    from packaging.specifiers import SpecifierSet
    from packaging.utils import canonicalize_name

    oldest = project()["requires-python"].removeprefix(">=") + ".0"
    pinned, refused = pins(), []
    for found in metadata.distributions():
        wanted = found.metadata.get("Requires-Python")
        name = canonicalize_name(found.metadata["Name"])
        if wanted and pinned.get(name) == found.version and oldest not in SpecifierSet(wanted):
            refused.append(f"{name} {found.version} wants Python {wanted}")
    assert refused == []
