"""include/bodystream.h as a C compiler sees it: the same layout as numpy's, no torn read, no race, no warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.sinks.shm import ABI, ShmWriter, pose_record
from bodystream.sinks.shm import layout as layouts
from bodystream.sinks.shm.layout import DEAD_AFTER_NS, HEADER, STATUS, Offer, Places, PoseFlag, SurfaceFlag
from bodystream.types import Status
from helpers.native import HAMMER, INCLUDE, ROOT, built, free_name, writing
from helpers.sent_poses import generated_poses, t_pose_sent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX shared memory; Windows has named mappings")
STRUCTS = {"header": HEADER, "joint": layouts.JOINT, "pose": layouts.POSE, "pose_slot": layouts.POSE_SLOT,
           "surface_info": layouts.SURFACE_INFO, "surface_slot": layouts.SURFACE_SLOT}  # fmt: skip


def run(program: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run([str(program), *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_python_and_the_compiler_agree_on_each_offset(tmp_path: Path) -> None:
    lines, wanted = [], {}
    for struct, dtype in STRUCTS.items():
        lines.append(f'printf("{struct} %zu\\n", sizeof(bodystream_{struct}));')
        wanted[struct] = dtype.itemsize
        for name, (kind, offset, *_) in dtype.fields.items():
            at = f"{struct}.{name}"
            lines.append(f'printf("{at} %zu\\n", offsetof(bodystream_{struct}, {name}));')
            lines.append(f'printf("{at}! %zu\\n", sizeof(((bodystream_{struct} *)0)->{name}));')
            wanted[at], wanted[f"{at}!"] = offset, kind.itemsize
    constants = {
        "ABI": ABI, "JOINTS": len(JOINTS), "DEAD_AFTER_NS": DEAD_AFTER_NS, "NAME_LENGTH": 18,
        "LOST": STATUS[Status.LOST], "DEGRADED": STATUS[Status.DEGRADED], "TRACKED": STATUS[Status.TRACKED],
        "OFFERS_POSES": int(Offer.POSES), "OFFERS_SURFACES": int(Offer.SURFACES),
        **{flag.name: int(flag) for flag in (*PoseFlag, *SurfaceFlag)},
    }  # fmt: skip
    lines += [f'printf("{name} %zu\\n", (size_t)BODYSTREAM_{name});' for name in constants]
    source = tmp_path / "offsets.c"
    source.write_text("#include <bodystream.h>\nint main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n")
    told = dict(line.split() for line in run(built(source, tmp_path / "offsets")).splitlines())
    assert {name: int(value) for name, value in told.items()} == {**wanted, **constants}
    declared = set()
    for struct in STRUCTS:
        text = (INCLUDE / "bodystream.h").read_text().partition(f"typedef struct bodystream_{struct} {{")[2]
        for line in text.partition("}")[0].splitlines():
            line = line.partition("/*")[0].strip()
            if line.endswith(";"):
                declared.add(f"{struct}.{line.split()[-1].partition('[')[0].rstrip(';')}")
    assert declared == {name for name in wanted if "." in name and not name.endswith("!")}, "a field is missing here"


@pytest.mark.parametrize(
    ("compiler", "options"),
    [("cc", ("-std=c99",)), ("cc", ("-std=c11", "-Wconversion")), ("c++", ("-x", "c++", "-std=c++11"))],
)
def test_the_header_brings_no_warning_to_anybody(tmp_path: Path, compiler: str, options: tuple[str, ...]) -> None:
    source = ROOT / "examples" / "native" / "print_pose.c"
    built(source, tmp_path / "out", *options, "-Wall", "-Wextra", "-Wpedantic", "-O2", compiler=compiler)


def test_ten_million_reads_beside_a_writer_at_one_kilohertz_are_whole(tmp_path: Path) -> None:
    hammer, name = built(HAMMER, tmp_path / "hammer", "-O2"), free_name()
    with writing(name, "poses", 1000.0):
        reads, torn, busy, ns_per_read, newest, backwards = map(float, run(hammer, "attach", name, "10000000").split())
    assert (reads, torn, busy, backwards) == (1e7, 0, 0, 0)
    assert newest > 100 and ns_per_read > 0


@pytest.mark.parametrize(("what", "reads"), [("poses", 1_000_000), ("surfaces", 20_000)])
def test_a_writer_as_fast_as_can_be_tears_nothing(tmp_path: Path, what: str, reads: int) -> None:
    hammer, name = built(HAMMER, tmp_path / "hammer", "-O2"), free_name()
    with writing(name, what, 0.0):
        told = run(hammer, "attach" if what == "poses" else "surfaces", name, str(reads)).split()
    assert told[:2] == [str(reads), "0"] and int(told[4]) > 100


def test_a_writer_that_breaks_the_rules_is_noticed(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    hammer = built(HAMMER, tmp_path / "hammer", "-O2", "-DBROKEN_WRITER")
    assert int(run(hammer, "threads", "300000", "1", "0").split()[1]) > 0


def test_the_thread_sanitizer_finds_no_race(tmp_path: Path) -> None:
    options = ("-O1", "-g", "-fsanitize=thread")
    hammer = built(HAMMER, tmp_path / "hammer", *options, compiler="gcc")
    for hz in ("1000", "0"):
        rows = [line.split() for line in run(hammer, "threads", "10000", "2", hz).splitlines()]
        assert [row[:2] for row in rows] == [["10000", "0"]] * 2
    plain = (INCLUDE / "bodystream.h").read_text()
    wanted = "__atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE)"
    assert wanted in plain
    (tmp_path / "bodystream.h").write_text(plain.replace(wanted, "*(const uint64_t *)address"))
    racy = built(HAMMER, tmp_path / "racy", *options, include=tmp_path, compiler="gcc")
    assert "data race" in run(racy, "threads", "10000", "2", "1000", code=66)


def test_the_example_prints_what_was_written(tmp_path: Path) -> None:
    program, name = built(ROOT / "examples" / "native" / "print_pose.c", tmp_path / "print_pose"), free_name()
    driven = generated_poses(1)[0]
    writer = ShmWriter(name, Offer.POSES)
    try:
        writer.write_pose(pose_record(driven))
        printed = run(program, name, "1").splitlines()
    finally:
        writer.close()
    assert printed[0].startswith("pose 1, tracked, ") and len(printed) == 23
    for joint, line in zip(JOINTS, printed[1:], strict=True):
        word, _, *numbers = line.replace(",", "").split()
        assert word == joint
        at = driven.person.joints_m[JOINTS.index(joint)]
        np.testing.assert_allclose([float(number) for number in numbers[:3]], at, atol=6e-4)
    assert PARENTS[0] == -1


def test_the_example_waits_for_a_writer_and_finds_the_next_one(tmp_path: Path) -> None:
    program, name = built(ROOT / "examples" / "native" / "print_pose.c", tmp_path / "print_pose"), free_name()
    with subprocess.Popen(
        [str(program), name, "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reads:
        assert reads.stdout is not None and reads.stderr is not None
        assert reads.stderr.readline() == f"{name}: nobody publishes under this name; waiting for it\n"
        for _ in range(2):
            writer = ShmWriter(name, Offer.POSES)
            writer.write_pose(pose_record(t_pose_sent()))
            lines = [reads.stdout.readline() for _ in range(23)]
            writer.close()
            assert lines[0].startswith("pose 1, tracked") and lines[-1].startswith("  right_wrist")
        assert reads.wait(10) == 0


def test_a_reader_of_another_version_says_so(tmp_path: Path) -> None:
    text = (INCLUDE / "bodystream.h").read_text()
    (tmp_path / "bodystream.h").write_text(text.replace("#define BODYSTREAM_ABI 1\n", "#define BODYSTREAM_ABI 7\n"))
    source = ROOT / "examples" / "native" / "print_pose.c"
    program, name = built(source, tmp_path / "print_pose", include=tmp_path), free_name()
    writer = ShmWriter(name, Offer.POSES)
    try:
        writer.write_pose(pose_record(t_pose_sent()))
        told = run(program, name, "1", code=1)
    finally:
        writer.close()
    assert told == (
        f"{name} is published with ABI 1 and this program reads ABI 7: build it again with the bodystream.h of the "
        "bodystream that publishes\n"
    )


def test_a_reader_notices_that_its_writer_was_killed(tmp_path: Path) -> None:
    hammer, name = built(HAMMER, tmp_path / "hammer", "-O2"), free_name()
    with writing(name, "poses", 200.0) as writer:
        reads = subprocess.Popen(
            [str(hammer), "attach", name, "1000000000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        time.sleep(0.3)
        writer.send_signal(signal.SIGKILL)
        out, error = reads.communicate(timeout=20)
        assert error == "the writer ended or died\n" and reads.returncode == 1
        assert int(out.split()[1]) == 0 and int(out.split()[0]) > 1000
        assert os.path.exists(f"/dev/shm/bodystream.{name}") or sys.platform != "linux"


@pytest.mark.parametrize(
    ("field", "value"),
    [("magic", b"OTHERS!"), ("session", 0), ("header_bytes", 1000), ("joint_count", 24), ("pose_slots", 0),
     ("pose_slots", 4000), ("pose_stride", 64), ("pose_offset", 0), ("pose_offset", 2**32 - 8),
     ("total_bytes", 2**40), ("surface_slots", 2000), ("surface_stride", 2**63), ("surface_offset", 2**63),
     ("vertex_capacity", 2**32 - 1), ("face_capacity", 2**32 - 1)],
)  # fmt: skip
def test_memory_that_cannot_be_is_refused(tmp_path_factory: pytest.TempPathFactory, field: str, value: object) -> None:
    folder = tmp_path_factory.getbasetemp()
    hammer = folder / "hammer_damaged"
    if not hammer.exists():
        built(HAMMER, hammer, "-O1", "-g", "-fsanitize=address,undefined")
    name = free_name()
    writer = ShmWriter(name, Offer.POSES | Offer.SURFACES, 100, 200)
    try:
        writer._segment.header[field] = value
        assert "not bodystream's, or not whole" in run(hammer, "attach", name, "1", code=1)
    finally:
        writer.close()


def test_random_headers_end_no_reader(tmp_path: Path) -> None:
    """A reader of memory that anybody may have written: fuzzed under the address sanitizer."""
    source = tmp_path / "fuzz.c"
    source.write_text(
        """
#include <bodystream.h>
int main(int argc, char **argv) {
    FILE *file = fopen(argv[1], "rb");
    static uint64_t memory[8192];
    (void)argc;
    for (;;) {
        bodystream_reader reader;
        bodystream_pose pose;
        bodystream_surface surface;
        size_t bytes = fread(memory, 1, sizeof memory, file);
        uint8_t *own;
        if (bytes < sizeof memory) return 0;
        own = (uint8_t *)malloc(bytes); /* so that a step beyond the end is seen */
        memcpy(own, memory, bytes);
        memset(&reader, 0, sizeof reader);
        if (bodystream_attach(own, bytes, &reader) == BODYSTREAM_OK) {
            char name[16];
            bodystream_read_pose(&reader, &pose);
            bodystream_joint_name(&reader, 3, name);
            if (bodystream_make_surface(&reader, &surface) == BODYSTREAM_OK) bodystream_read_surface(&reader, &surface);
            bodystream_free_surface(&surface);
            putchar('.');
        }
        free(own);
    }
}
"""
    )
    program = built(source, tmp_path / "fuzz", "-O1", "-g", "-fsanitize=address,undefined")
    rng = np.random.default_rng(5)
    places, size, count = Places(64, 128), 65536, int(os.environ.get("BODYSTREAM_FUZZ", 300))
    name = free_name()
    writer = ShmWriter(name, Offer.POSES | Offer.SURFACES, 64, 128)
    writer.write_pose(pose_record(t_pose_sent()))
    whole = np.zeros(size, np.uint8)
    whole[: places.total] = writer._segment.bytes
    writer.close()
    whole[: HEADER.itemsize].view(HEADER)["heartbeat_ns"] = 2**62  # it never dies
    with open(tmp_path / "inputs", "wb") as out:
        out.write(whole.tobytes())
        for _ in range(count):
            changed = whole.copy()
            for at in rng.integers(0, rng.choice([128, 1024, places.total]), rng.integers(1, 4)):
                changed[at] = rng.integers(0, 256)
            out.write(changed.tobytes())
    assert "." in run(program, str(tmp_path / "inputs"))
