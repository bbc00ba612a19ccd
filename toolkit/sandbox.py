"""Programs written by a model, run where they can do no harm; pass@k."""

import json
import math
import os
import platform
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolkit.errors import ToolkitError

CONFINED = Path(__file__).with_name("sandbox_process.py")
MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Limits:
    seconds: float = 5.0  # wall-clock time; processor time is limited to as much
    memory_bytes: int = 1 << 30


Outcome = Literal["passed", "failed", "timed out"]


def run_program(program: str, limits: Limits = Limits()) -> Outcome:
    """Run a Python program alone, without network, files to write, other processes, or output.

    It reads the files of its own empty folder and of the interpreter; on kernels before Linux 5.13, which
    have no Landlock, any file that this user can read.

    Raises:
        ToolkitError: this machine cannot confine a program; it is not run then.
    """
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        raise ToolkitError(f"running a model's code needs Linux on {' or '.join(MACHINES)}, to confine it")
    token = secrets.token_hex(16)
    reading, writing = os.pipe()
    with open(reading, "rb") as report, open(writing, "wb") as its_end:  # noqa: PTH123 - descriptors, not paths
        job = {"program": program, "token": token, "report": its_end.fileno()}
        job |= {"memory_bytes": limits.memory_bytes, "seconds": limits.seconds}
        in_time = _run(json.dumps(job), limits.seconds, its_end.fileno())
        its_end.close()  # else reading would wait for a program that reported nothing
        passed = report.read(len(token)) == token.encode()
    if not in_time:
        return "timed out"
    return "passed" if passed else "failed"


def _run(job: str, seconds: float, report: int) -> bool:
    """Start the confined process and see it end; whether it did so in time."""
    with tempfile.TemporaryDirectory() as nowhere:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(CONFINED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=nowhere,
            env={},
            text=True,
            pass_fds=(report,),
            start_new_session=True,
        )
        try:
            process.communicate(job, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return False
        return True


def pass_at_k(n: int, passed: int, k: int) -> float:
    """Probability that one of `k` samples passes, unbiased, from `n` >= `k` (Chen et al. 2021, eq. 1)."""
    if n < k:
        raise ValueError(f"pass@{k} needs {k} samples, there are {n}")
    if n - passed < k:
        return 1.0
    return 1.0 - math.prod((n - passed - i) / (n - i) for i in range(k))


class CodeEval:
    """In the place of Hugging Face's metric `code_eval`, which confines nothing: the same, in the sandbox."""

    def compute(
        self,
        predictions: Sequence[Sequence[str]],
        references: Sequence[str],
        k: Sequence[int] = (1,),
        **_: object,
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, object]]]]]:
        """Mean pass@k over problems, for each `k` that all have samples for; each candidate's outcome."""
        found = [
            check([f"{candidate}\n{test}" for candidate in candidates])
            for candidates, test in zip(predictions, references, strict=True)
        ]
        figures = {
            f"pass@{size}": sum(pass_at_k(len(each), each.count("passed"), size) for each in found)
            / len(found)
            for size in k
            if all(len(each) >= size for each in found)
        }
        outcomes = {
            number: [(place, {"passed": text == "passed", "result": text}) for place, text in enumerate(each)]
            for number, each in enumerate(found)
        }
        return figures, outcomes  # type: ignore[return-value]


def check(programs: Sequence[str], limits: Limits = Limits()) -> list[Outcome]:
    """Run several programs, as many at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda program: run_program(program, limits), programs))
