"""How many riggers the arena's report finds in simulated crowds, and how often it accuses an honest voter.

    python -m perf.riggers --crowds 20

Each crowd has forty honest voters with sixty votes: they differ in taste, in how often they call a tie, in a
slight liking for one side and in speed; in some crowds a third of them share a strong taste. One voter, or a
pair of accounts, rigs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from toolkit.arena.moderation import voter_reports
from toolkit.arena.store import VoteRow
from toolkit.types import Outcome

CONTESTANTS = tuple(f"m{index}" for index in range(5))
STRENGTH = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
EXAMPLES, HONEST, VOTES = 150, 40, 60

Choose = Callable[[int, int, int, Generator], tuple[Outcome, float]]
"""(left, right, number of the vote) -> outcome and seconds."""


def honest(rng: Generator, shared: np.ndarray, example_gap: np.ndarray, example: list[int]) -> Choose:
    """A voter with a taste, a rate of ties, a slight side bias and a pace."""
    taste = STRENGTH + shared + rng.normal(0, 0.5, len(STRENGTH))
    ties, side, pace = rng.uniform(0.02, 0.25), rng.normal(0, 0.12), rng.uniform(1.8, 3.0)

    def choose(a: int, b: int, _number: int, luck: Generator) -> tuple[Outcome, float]:
        seconds = float(luck.lognormal(pace, 0.6))
        if luck.random() < ties:
            return ("tie" if luck.random() < 0.7 else "both_bad"), seconds
        here = example_gap[example[0]]
        gap = taste[a] - taste[b] + here[a] - here[b] + side
        return ("a" if luck.random() < 1 / (1 + np.exp(-gap)) else "b"), seconds

    return choose


def rigger(kind: str, base: Choose, memory: list[Outcome]) -> Choose:  # noqa: C901 - one branch a kind
    """A voter who always chooses A, or one contestant, clicks at random or too fast, or copies an account."""

    def choose(a: int, b: int, number: int, luck: Generator) -> tuple[Outcome, float]:
        outcome, seconds = base(a, b, number, luck)
        if kind == "always A" or (kind == "mostly A (85%)" and luck.random() < 0.85):
            outcome = "a"
        elif kind.startswith("one contestant") and 0 in (a, b):
            if not kind.endswith("(90%)") or luck.random() < 0.9:
                outcome = "a" if a == 0 else "b"
        elif kind == "random":
            outcome = "a" if luck.random() < 0.5 else "b"
        elif kind == "speed":
            seconds = float(luck.uniform(0.3, 1.4))
        elif kind == "contrary":
            outcome = {"a": "b", "b": "a"}.get(outcome, outcome)  # type: ignore[assignment]
        if kind == "copied clicks":
            outcome = copy(outcome, number, luck)
        return outcome, seconds

    def copy(own: Outcome, number: int, luck: Generator) -> Outcome:
        if number < len(memory):
            return memory[number] if luck.random() < 0.95 else own
        memory.append(own)
        return own

    return choose


def crowd(seed: int, kind: str | None, votes: int = VOTES, shared_taste: bool = False) -> list[VoteRow]:
    """The votes of a crowd; the riggers are named `rig...`."""
    rng = np.random.default_rng(seed)
    gaps = rng.normal(0, 0.7, (EXAMPLES, len(CONTESTANTS)))
    voters: list[tuple[str, Choose, list[int]]] = []
    for number in range(HONEST):
        shared = np.zeros(len(CONTESTANTS))
        if shared_taste and number % 3 == 0:
            shared[0] = 3.0
        example = [0]
        voters.append((f"honest-{number}", honest(rng, shared, gaps, example), example))
    memory: list[Outcome] = []
    for number in range(2 if kind == "copied clicks" else 1 if kind else 0):
        example = [0]
        base = honest(rng, np.zeros(len(CONTESTANTS)), gaps, example)
        voters.append((f"rig-{number}", rigger(str(kind), base, memory), example))
    rows = []
    for name, choose, example in voters:
        count = votes if name.startswith("rig") else VOTES
        for number, place in enumerate(rng.permutation(EXAMPLES)[:count]):
            a, b = (int(i) for i in rng.choice(len(CONTESTANTS), 2, replace=False))
            example[0] = int(place)
            outcome, seconds = choose(a, b, number, rng)
            sides = CONTESTANTS[a], CONTESTANTS[b]
            fields = (len(rows), f"{place}", f"e{place}", *sides, outcome, name, None, float(len(rows)))
            rows.append(VoteRow(*fields, seconds, "battle", False))
    return rows


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--crowds", type=int, default=20)
    options.add_argument("--first-seed", type=int, default=10_000)
    given = options.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.crowds)
    print("| rigger | found at 20 votes | 40 | 60 | 120 |\n| --- | --- | --- | --- | --- |")
    kinds = ("always A", "mostly A (85%)", "one contestant", "one contestant (90%)", "copied clicks", "speed",
             "contrary", "random")  # fmt: skip
    for kind in kinds:
        cells = []
        for votes in (20, 40, 60, 120):
            found = sum(
                any(r.flagged for r in voter_reports(crowd(seed, kind, votes)) if r.voter.startswith("rig"))
                for seed in seeds
            )
            cells.append(f"{found} of {given.crowds}")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)
    print("\n| honest crowds | with an accused voter |\n| --- | --- |")
    for shared in (False, True):
        accused = sum(
            any(r.flagged for r in voter_reports(crowd(seed, None, shared_taste=shared)))
            for seed in range(given.first_seed, given.first_seed + 5 * given.crowds)
        )
        label = "a third share a strong taste" if shared else "tastes of their own"
        print(f"| {label} | {accused} of {5 * given.crowds} |", flush=True)


if __name__ == "__main__":
    main()
