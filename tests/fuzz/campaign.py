"""Fuzz one reader, guided by coverage: `python -m tests.fuzz.campaign recipe --minutes 15`.

Needs `pip install atheris`. Minutes are of processor time. A finding does not end the campaign: the first
input of each kind (exception and place in our code) is kept as a file in `--out`, and the number of kinds is
printed at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import traceback
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["toolkit", "yaml", "json", "csv"]):
    from tests.fuzz.targets import SEEDS, TARGETS

ROOT = Path(__file__).parents[2]


def kind_of(error: BaseException) -> str:
    """What makes two findings the same: the exception, and the last line of ours that it passed."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename]
    last = next((frame for frame in reversed(ours) if "toolkit" in frame.filename), ours[-1])
    return f"{type(error).__name__} at {Path(last.filename).relative_to(ROOT)}:{last.lineno}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--out", type=Path, default=Path("findings"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    target, corpus = TARGETS[options.target], options.out / options.target / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[options.target]:
        target(seed)  # what is imported on first use is not timed as a hang
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    found: dict[str, bytes] = {}
    tried, started = 0, time.process_time()

    def once(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            target(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            kind = kind_of(error)
            if kind not in found:
                found[kind] = data
                file = options.out / options.target / f"finding-{len(found)}"
                file.with_suffix(".input").write_bytes(data)
                file.with_suffix(".txt").write_text(f"{kind}\n{error!r}\n\n{traceback.format_exc()}")
                print(f"{options.target}: {kind}: {error!r:.200}", flush=True)
        if time.process_time() - started > options.minutes * 60:
            print(f"{options.target}: {tried} inputs in {options.minutes} min, {len(found)} kinds of finding")
            sys.stdout.flush()
            atheris_end()

    limits = ["-max_len=4096", "-rss_limit_mb=4096", "-timeout=300"]  # a hang ends the campaign, as a finding
    artifacts = f"-artifact_prefix={options.out / options.target}/"
    atheris.Setup([sys.argv[0], str(corpus), *limits, artifacts, "-verbosity=0"], once)
    atheris.Fuzz()


def atheris_end() -> None:
    """Leave at once: libFuzzer has no way to be told from inside that its time is up."""
    import os

    os._exit(0)


if __name__ == "__main__":
    main()
