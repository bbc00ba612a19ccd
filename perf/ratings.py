"""How fast ratings are, beside arena-rank, evalica, choix and FastChat's method, from the same vote files.

    python perf/ratings.py                                   # 10^4 to 10^6 votes
    python perf/ratings.py --votes 10000000 --contestants 20
    python perf/ratings.py --arena-rank /path/to/venv/bin/python

arena-rank pins an older numpy, so it runs in an environment of its own. Every figure is the median over fresh
processes, from the Parquet file to the ratings, imports not counted; memory is the growth of the process.
Processor seconds are what to compare where the machine has other work, but for what uses several cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Points = dict[str, float]
"""Contestant -> rating; where zero lies does not matter."""

SCALE = 400 / np.log(10)
COLUMNS = ["model_a", "model_b", "winner"]


def make(path: Path, contestants: int, votes: int) -> None:
    """A file of votes on pairs drawn evenly, a fifth of them ties, with two style measures."""
    rng = np.random.default_rng(1)
    names = np.array([f"contestant-{k:03}" for k in range(contestants)])
    strength = rng.normal(0, 0.7, contestants)
    i = rng.integers(0, contestants, votes)
    j = (i + rng.integers(1, contestants, votes)) % contestants
    won = rng.random(votes) < 1 / (1 + np.exp(strength[j] - strength[i]))
    outcome = np.where(rng.random(votes) < 0.2, 2, np.where(won, 0, 1))
    columns = {
        "model_a": pd.Categorical.from_codes(i, names),
        "model_b": pd.Categorical.from_codes(j, names),
        "winner": pd.Categorical.from_codes(outcome, ["model_a", "model_b", "tie"]),
    }
    style = {
        f"{name}_{side}": rng.gamma(2, 200, votes).round() for name in ("length", "lists") for side in "ab"
    }
    pd.DataFrame(columns | style).to_parquet(path)


def read_and_factorise(path: Path) -> None:
    """What any tool has to do first."""
    frame = pd.read_parquet(path, columns=COLUMNS)
    for column in COLUMNS:
        pd.factorize(frame[column].astype(str))


def ours(path: Path) -> Points:
    from toolkit.ratings import RATED, bradley_terry, read_votes

    fit = bradley_terry(read_votes(path, columns=RATED))
    return {row.contestant: row.value for row in fit.ratings}


def ours_style(path: Path) -> Points:
    from toolkit.ratings import read_votes, style_controlled

    columns = [*COLUMNS, "length_a", "length_b", "lists_a", "lists_b"]
    fit = style_controlled(read_votes(path, columns=columns), ["length", "lists"])
    return {row.contestant: row.value for row in fit.ratings}


def arena_rank(path: Path) -> Points:
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    data = PairDataset.from_pandas(pd.read_parquet(path, columns=COLUMNS).astype(str))
    return fitted(BradleyTerry(len(data.competitors)), data)


def fitted(model: Any, data: Any) -> Points:
    """Ratings and intervals of one of arena-rank's models."""
    found = model.compute_ratings_and_cis(data)
    found["rating_lower"].block_until_ready()
    return dict(zip(data.competitors, map(float, found["ratings"]), strict=True))


def arena_rank_style(path: Path) -> Points:
    from arena_rank.models.contextual_bradley_terry import ContextualBradleyTerry
    from arena_rank.utils.data_utils import ContextualPairDataset

    frame = pd.read_parquet(path)
    frame[COLUMNS] = frame[COLUMNS].astype(str)
    for name in ("length", "lists"):
        a, b = frame[f"{name}_a"], frame[f"{name}_b"]
        frame[name] = (a - b) / (a + b + 1)
    data = ContextualPairDataset.from_pandas(frame, ["length", "lists"], reweighted=False)
    return fitted(ContextualBradleyTerry(len(data.competitors), 2, reg=0.0), data)


def evalica(path: Path) -> Points:
    import evalica as tool

    frame = pd.read_parquet(path, columns=COLUMNS)
    outcome = {"model_a": tool.Winner.X, "model_b": tool.Winner.Y, "tie": tool.Winner.Draw}
    winners = frame["winner"].astype(object).map(outcome)
    found = tool.bradley_terry(frame["model_a"].astype(object), frame["model_b"].astype(object), winners)
    return (SCALE * np.log(found.scores)).to_dict()


def choix(path: Path) -> Points:
    """Its dense solver, on counts; a tie is half a win."""
    import choix as tool

    from toolkit.ratings import RATED, count, read_votes

    counts = count(read_votes(path, columns=RATED))
    return dict(zip(counts.names, SCALE * tool.ilsr_pairwise_dense(counts.points, alpha=0), strict=True))


def fastchat(path: Path) -> Points:
    """FastChat's method: unique rows with counts, L-BFGS."""
    frame = pd.read_parquet(path, columns=COLUMNS).astype(str)
    codes, names = pd.factorize(pd.concat([frame["model_a"], frame["model_b"]]))
    rows = np.ones((len(frame), 3), dtype=np.int32)
    rows[:, 0], rows[:, 1] = codes[: len(frame)], codes[len(frame) :]
    rows[frame["winner"] == "model_a", 2] = 2
    rows[frame["winner"] == "model_b", 2] = 0
    unique, times = np.unique(rows, return_counts=True, axis=0)
    point = fastchat_fit((unique, times.astype(float), len(names)))
    return dict(zip(names, 400 * point, strict=True))


def fastchat_fit(task: tuple[Any, Any, int]) -> Any:
    from scipy.optimize import minimize
    from scipy.special import expit

    rows, times, n = task
    points, base = rows[:, 2] / 2, np.log(10)

    def loss(ratings: Any) -> tuple[float, Any]:
        met = ratings[rows[:, :2]]
        p = expit(base * (met[:, 0] - met[:, 1]))
        gradient = np.zeros(n)
        np.add.at(gradient, rows[:, :2], (-base * (points - p) * times)[:, None] * np.array([1.0, -1.0]))
        return -((np.log(p) * points + np.log(1 - p) * (1 - points)) * times).sum(), gradient

    return minimize(loss, np.zeros(n), jac=True, method="L-BFGS-B", options={"maxiter": 100, "gtol": 1e-6}).x


CASES: dict[str, tuple[str, Callable[[Path], Points | None]]] = {
    "read": ("reading and factorising", read_and_factorise),
    "ours": ("ours: point + sandwich", ours),
    "ours_style": ("ours: style control + sandwich", ours_style),
    "arena_rank": ("arena-rank: point + sandwich", arena_rank),
    "arena_rank_style": ("arena-rank: style control + sandwich", arena_rank_style),
    "evalica": ("evalica: point", evalica),
    "choix": ("choix: point (from our counts)", choix),
    "fastchat": ("FastChat: point", fastchat),
}


def one(case: str, path: Path) -> None:
    """Run one case in this process; print its ratings, its time and the growth of its memory, once warm."""
    call = CASES[case][1]
    call(path.with_name("small.parquet"))  # imports everything
    before = memory("VmRSS")
    points = call(path)
    peak = memory("VmHWM")
    started, worked = time.perf_counter(), work()
    call(path)
    seconds, worked = time.perf_counter() - started, work() - worked
    print(json.dumps({"seconds": seconds, "work": worked, "memory": max(0, peak - before), "points": points}))


def work() -> float:
    """Seconds of processor time of this process, its threads and the children it waited for."""
    return sum(os.times()[:4])


def memory(kind: str) -> int:
    """Bytes this process holds (`VmRSS`), or held at most (`VmHWM`); 0 where the system does not say.

    Not `getrusage`: on Linux a process inherits its parent's peak there.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind + ":"))


def run(case: str, path: Path, python: str) -> dict[str, Any]:
    """One case in a fresh process."""
    command = [python, __file__, "--case", case, "--file", str(path)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: dict[str, Any] = json.loads(found)
    print(f"{case}: {measured['seconds']:.3f} s", file=sys.stderr, flush=True)
    return measured


def measure(path: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Medians of every case over rounds; each round runs all, so that no busy spell hits one alone."""
    pythons = {
        case: options.arena_rank if case.startswith("arena_rank") else sys.executable for case in CASES
    }
    cases = [case for case in CASES if pythons[case] and case not in options.skip]
    rounds = [{case: run(case, path, pythons[case]) for case in cases} for _ in range(options.rounds)]
    keys = ("seconds", "work", "memory")
    return {
        case: {key: statistics.median(one[case][key] for one in rounds) for key in keys}
        | {"points": rounds[0][case]["points"]}
        for case in cases
    }


def apart(one: Points, other: Points) -> float:
    """The largest difference of two sets of ratings, both about their mean."""
    gaps = np.array([one[name] - other[name] for name in one])
    return float(np.abs(gaps - gaps.mean()).max())


def table(folder: Path, contestants: int, votes: int, options: argparse.Namespace) -> None:
    """Measure every case on one file and print its rows."""
    path = folder / "votes.parquet"
    make(path, contestants, votes)
    make(folder / "small.parquet", contestants, 100 * contestants)
    read = pd.read_parquet(path, columns=COLUMNS).memory_usage(index=False, deep=True).sum()
    print(
        f"\n{votes:,} votes, {contestants} contestants; the columns read take {read / 1e6:.1f} MB as codes\n"
    )
    print(
        "| | seconds | against reading | against ours | processor seconds | memory, MB | off ours, points |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    found = measure(path, options)
    for case, row in found.items():
        seconds = row["seconds"]
        own = found.get("ours_style" if "style" in case else "ours")
        cells = [
            f"{seconds:.3f}",
            f"{seconds / found['read']['seconds']:.2f}x",
            f"{seconds / own['seconds']:.1f}x" if own else "",
            f"{row['work']:.2f}",
            f"{row['memory'] / 1e6:.0f}",
            f"{apart(row['points'], own['points']):.4f}" if own and row["points"] and own is not row else "",
        ]
        print(f"| {CASES[case][0]} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--votes", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    parser.add_argument("--contestants", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip", nargs="*", default=[], choices=list(CASES))
    parser.add_argument("--arena-rank", help="python of an environment with arena-rank")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        one(options.case, options.file)
        return
    with tempfile.TemporaryDirectory() as folder:
        for contestants in options.contestants:
            for votes in options.votes:
                table(Path(folder), contestants, votes, options)


if __name__ == "__main__":
    main()
