"""Limits on untrusted Jinja templates: each first renders examples in a process with time and memory limits.

Jinja's sandbox keeps a template from Python, but bounds neither its time nor its memory. Run as a script,
this file is that process.
"""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

SECONDS = 2  # of processor time; real templates take a hundredth of one
MEMORY_BYTES = 1 << 29
LONGEST = 1_000_000  # characters of one text; real templates write a few thousand around short examples

TURNS = [
    {"role": "system", "content": "Be brief."},
    *({"role": role, "content": "hello"} for role in ("user", "assistant") * 3),
]
TOKENS = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<s>")
CONVERSATIONS: tuple[dict[str, Any], ...] = tuple(
    {"messages": turns, "add_generation_prompt": generate, "tools": None, "documents": None} | TOKENS
    for turns in (TURNS[1:2], TURNS[1:3], TURNS[:2], TURNS)
    for generate in (True, False)
)
"""Variables of chat templates."""

OVERRUNS = {3: "writes a text without bounds", 4: "calls itself without end"}


def find_overrun(template: Any, examples: Sequence[dict[str, Any]] = CONVERSATIONS) -> str | None:
    """Render a template's examples in a process of its own; why it must not be rendered here, or `None`."""
    texts = template.values() if isinstance(template, dict) else [template] if template else []
    overruns = (_overrun(text, json.dumps(examples, default=str)) for text in texts)
    return next(filter(None, overruns), None)


@lru_cache
def _overrun(template: str, examples: str) -> str | None:
    job = f"[{json.dumps(template)}, {examples}]"
    command = [sys.executable, "-I", __file__]
    done = subprocess.run(command, input=job, text=True, capture_output=True, check=False)
    if done.returncode < 0:
        return f"takes more than {SECONDS} seconds of processor time"
    return OVERRUNS.get(done.returncode)


def _render_examples() -> int:
    """Render the examples on standard input; the exit code: 0, or a key of `OVERRUNS`."""
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import SandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise ValueError(message)

    template, examples = json.load(sys.stdin)
    limits = {resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CORE: 0}
    for limit, value in limits.items():
        with suppress(OSError, ValueError):  # macOS has no limit of memory
            resource.setrlimit(limit, (value, value))
    environment = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["regex_replace"] = lambda text, *_, **__: text  # of lm-eval
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": lambda form: form}
    template = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", template)  # a tag of transformers
    for variables in examples:
        try:
            length = sum(map(len, environment.from_string(template).generate(variables)))
        except (MemoryError, OverflowError):
            return 3
        except RecursionError:
            return 4
        except Exception:  # noqa: BLE001 - a template's refusal is reported where it is used
            continue
        if length > LONGEST:
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(_render_examples())
