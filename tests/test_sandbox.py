"""Hostile programs come to nothing, and honest ones pass."""

from __future__ import annotations

import ctypes
import itertools
import json
import math
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from toolkit import sandbox, sandbox_process
from toolkit.errors import ToolkitError
from toolkit.sandbox import Limits, pass_at_k, run_program

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in sandbox.MACHINES, reason="the sandbox needs Linux"
)

QUICK = Limits(seconds=4, memory_bytes=512 << 20)


@pytest.mark.parametrize(
    "program",
    [
        "assert sum(range(10)) == 45",
        "from typing import List\nimport collections, hashlib, itertools, math, random, re, statistics\n"
        "assert hashlib.md5(b'x').hexdigest()",
        "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nassert f(15) == 610",
        "print('words ' * 1_000_000)",  # output goes nowhere and fills nothing
    ],
)
def test_honest_programs_pass(program: str):
    assert run_program(program) == "passed"


@pytest.mark.parametrize(
    "program", ["assert 1 == 2", "raise SystemExit", "import os; os._exit(0)", "def f(:", "undefined"]
)
def test_wrong_and_unfinished_programs_fail(program: str):
    assert run_program(program) == "failed"


@pytest.mark.matrix
@pytest.mark.parametrize(
    "program",
    ["while True: pass", "import time; time.sleep(600)", "try:\n    while 1: 0\nfinally:\n    while 1: 0"],
)
def test_endless_programs_are_stopped(program: str):
    began = time.monotonic()
    assert run_program(program, Limits(seconds=1)) in {"timed out", "failed"}
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "program",
    ["x = bytearray(8 << 30)", "x = []\nwhile True: x.append(' ' * 10_000_000)", "x = list(range(10**9))"],
)
def test_memory_is_limited(program: str):
    assert run_program(program, QUICK) == "failed"


REFUSED = {
    "a file is written": "open('{folder}/made', 'w').write('x')",
    "a file is appended to": "open('{folder}/kept', 'a').write('x')",
    "a file is emptied": "import os; os.open('{folder}/kept', os.O_RDONLY | os.O_TRUNC)",
    "a file is removed": "import os; os.remove('{folder}/kept')",
    "a file is renamed": "import os; os.rename('{folder}/kept', '{folder}/made')",
    "a folder is made": "import os; os.mkdir('{folder}/made')",
    "a mode is changed": "import os; os.chmod('{folder}/kept', 0)",
    "a link is made": "import os; os.symlink('/', '{folder}/made')",
    "a process is forked": "import os; os.fork()",
    "a fork bomb": "import os\nwhile True: os.fork()",
    "a command is run": "import subprocess; subprocess.run(['touch', '{folder}/made'])",
    "a shell is run": "import os; assert os.system('touch {folder}/made') == 0",
    "a program is put in place": "import os; os.execv('/bin/true', ['true'])",
    "a thread is started": "import threading; threading.Thread(target=print).start()",
    "the parent is killed": "import os; os.kill(os.getppid(), 9)",
    "a connection is made": "import socket; socket.create_connection(('127.0.0.1', {port}))",
    "a socket is made": "import socket; socket.socket(socket.AF_UNIX)",
    "a name is looked up": "import socket; socket.getaddrinfo('example.com', 80)",
    "the limits are raised": "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))",
    "memory of the parent is read": "import os; open(f'/proc/{{os.getppid()}}/mem', 'r+b')",
    "a call is made by hand": "import ctypes; assert ctypes.CDLL(None).syscall(57) >= 0",
    "a filter is taken off": "import ctypes; assert ctypes.CDLL(None).prctl(22, 0, 0, 0, 0) == 0",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_could_do_harm_is_refused(what: str, tmp_path: Path):
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        program = REFUSED[what].format(folder=tmp_path, port=server.getsockname()[1])
        assert run_program(program, QUICK) == "failed"
        with pytest.raises(TimeoutError):
            server.accept()
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "as it was"
    assert kept.stat().st_mode & 0o777 != 0


def test_the_same_harm_is_done_outside_the_sandbox(tmp_path: Path):
    """The programs above fail because they are confined, and not for a mistake in them."""
    for what in ("a file is written", "a file is removed", "a folder is made", "a process is forked"):
        folder = tmp_path / what
        folder.mkdir()
        (folder / "kept").write_text("x")
        program = REFUSED[what].format(folder=folder, port=1)
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_program_cannot_stop_its_report_from_being_read():
    flood = (
        "import os\nfor fd in range(3, 4096):\n    try:\n        while True: os.write(fd, b'x' * 65536)\n"
        "    except OSError: pass"
    )
    assert run_program(flood, Limits(seconds=1)) == "timed out"


def test_nothing_of_the_users_environment_is_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_KEY", "s3cret")
    assert run_program("import os; assert 'SECRET_KEY' not in os.environ and len(os.environ) < 3") == "passed"


def test_no_process_and_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(sandbox.tempfile, "tempdir", None)
    before = psutil.Process().children(recursive=True)
    run_program("while True: pass", Limits(seconds=0.5))
    assert list(tmp_path.iterdir()) == []
    assert psutil.Process().children(recursive=True) == before


def test_machines_that_cannot_confine_run_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "riscv64")
    with pytest.raises(ToolkitError, match="needs Linux on x86_64 or aarch64"):
        run_program("assert True")


@pytest.mark.parametrize("machine", sandbox.MACHINES)
def test_rules_end_in_refusal_and_fit_the_kernel(machine: str):
    rules = sandbox_process.rules(machine)
    assert rules[-1] == (sandbox_process.RETURN, 0, 0, sandbox_process.REFUSE | 1)
    assert len(rules) < 4096
    for place, (operation, yes, no, _) in enumerate(rules):
        if operation == sandbox_process.EQUAL:
            assert place + 1 + max(yes, no) < len(rules)


def test_pass_at_k_is_the_share_of_samples_with_a_passing_one():
    for n, right, k in ((5, 2, 1), (5, 2, 3), (6, 0, 2), (4, 4, 2), (6, 1, 6)):
        draws = list(itertools.combinations(range(n), k))
        expected = sum(any(i < right for i in draw) for draw in draws) / len(draws)
        assert pass_at_k(n, right, k) == pytest.approx(expected)
        assert pass_at_k(n, right, k) == pytest.approx(1 - math.comb(n - right, k) / math.comb(n, k))
    with pytest.raises(ValueError, match="pass@2 needs 2 samples, there are 1"):
        pass_at_k(1, 0, 2)


def test_every_solution_of_humaneval_passes_and_an_empty_one_fails(shared_data: Path):
    rows = [
        json.loads(line) for line in (shared_data / "bench_humaneval/test.jsonl").read_text().splitlines()
    ]
    some = rows[::16]
    tests = [f"{row['test']}\ncheck({row['entry_point']})" for row in some]
    right = [
        f"{row['prompt']}{row['canonical_solution']}\n{test}" for row, test in zip(some, tests, strict=True)
    ]
    wrong = [f"{row['prompt']}    return None\n{test}" for row, test in zip(some, tests, strict=True)]
    assert sandbox.check(right) == ["passed"] * len(some)
    assert "passed" not in sandbox.check(wrong)


@pytest.mark.parametrize(
    "program",
    [
        "open('/etc/passwd').read()",
        "import os; os.listdir('/')",
        "open('/proc/self/environ').read()",
        f"open({__file__!r}).read()",
    ],
)
def test_files_outside_of_its_own_folder_cannot_be_read(program: str):
    libc = ctypes.CDLL(None)
    if libc.syscall(444, None, ctypes.c_size_t(0), 1) < 1:
        pytest.skip("this kernel has no Landlock")
    assert run_program(program) == "failed"
    assert run_program("import os\nassert os.listdir('.') == []") == "passed"
