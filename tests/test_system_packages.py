"""`tools/system_packages.sh` installs what is absent where it may, and else says how; no real manager is called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "system_packages.sh"
TOOLS = ("sh", "cat", "sed", "grep", "env", "ls", "uname")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="make targets are not for Windows")


class Machine:
    """A folder of commands that is the whole PATH: those of `TOOLS`, and stand-ins that note how they were called."""

    def __init__(self, folder: Path, user: int, manager: str, succeeds: bool = True) -> None:
        self.bin, self.log, self.venv = folder / "bin", folder / "log", folder / "venv"
        self.bin.mkdir(parents=True)
        self.venv.mkdir()
        self.log.touch()
        for name in TOOLS:
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)
        self.add("id", f"echo {user}")
        self.add("ldconfig", "")
        self.add(manager, f'echo "{manager} $*" >>"{self.log}"\nexit {0 if succeeds else 100}')

    def add(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def run(self, *words: str, **environment: str) -> tuple[int, str, list[str]]:
        """Exit code, what was said, and what the package manager was told."""
        self.log.write_text("")
        script = SCRIPT.read_text().replace("PATH=$PATH:/usr/sbin:/sbin", f"PATH={self.bin}")
        done = subprocess.run(
            [str(self.bin / "sh"), "-c", script, "system_packages.sh", *words],
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, self.log.read_text().splitlines()

    def tests(self, **environment: str) -> tuple[int, str, list[str]]:
        return self.run("tests", str(self.venv), **environment)


def test_root_gets_what_is_absent(tmp_path: Path) -> None:
    code, said, told = Machine(tmp_path, 0, "apt-get").tests()
    assert code == 0 and "note" not in said
    install = told[-1].split()
    assert install[0:2] == ["apt-get", "install"] and "libusb-1.0-0" in install
    assert "tests of RealSense cameras" in said


def test_nothing_is_done_where_all_is_there(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 0, "apt-get")
    machine.add("ldconfig", "echo libusb-1.0.so.0; echo libGL.so.1")
    for command in ("chromium", "chromedriver", "cc", "c++"):
        machine.add(command, "")
    assert machine.tests() == (0, "", [])


@pytest.mark.parametrize("manager", ["apt-get", "dnf"])
def test_a_user_without_rights_is_told_the_command_and_the_tests_go_on(tmp_path: Path, manager: str) -> None:
    machine = Machine(tmp_path, 1000, manager)
    machine.add("sudo", "exit 1")  # it wants a password
    code, said, told = machine.tests()
    assert (code, told) == (0, [])
    assert f"sudo {manager} install" in said and "libusb" in said and "skipped" in said


def test_passwordless_sudo_is_used(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 1000, "dnf")
    machine.add("sudo", '[ "$1" = -n ] && shift\nexec "$@"')
    machine.add("true", "")
    code, _, told = machine.tests()
    assert code == 0 and told[-1].startswith("dnf install") and "chromedriver" in told[-1]


def test_what_could_not_be_installed_is_named_and_not_tried_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 0, "apt-get", succeeds=False)
    code, said, told = machine.tests()
    assert code == 0 and told and "absent" in said
    code, said, told = machine.tests()
    assert code == 0 and told == [] and "absent" in said
    machine.add("chromedriver", "")  # another need than before is tried
    assert machine.tests()[2]


def test_it_can_be_forbidden(tmp_path: Path) -> None:
    code, said, told = Machine(tmp_path, 0, "apt-get").tests(SYSTEM_PACKAGES="no")
    assert (code, told) == (0, []) and "sudo apt-get install libusb-1.0-0" in said


def test_no_package_manager(tmp_path: Path) -> None:
    code, said, _ = Machine(tmp_path, 0, "pacman").tests()
    assert code == 0 and "with your system's package manager: libusb" in said


def test_virtual_environments(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root", 0, "apt-get")
    machine.add("python3", "echo python3.11-venv")
    code, _, told = machine.run("venv", "python3")
    assert code == 0 and told[-1].endswith("python3.11-venv")
    machine = Machine(tmp_path / "user", 1000, "apt-get")
    machine.add("python3", "echo python3.11-venv")
    code, said, told = machine.run("venv", "python3")
    assert (code, told) == (1, []) and said.startswith("error: ") and "sudo apt-get install python3.11-venv" in said
