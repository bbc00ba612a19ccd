"""Conspicuous voters in simulated crowds: how many riggers are found, and how often others are accused.

A crowd has 12 to 60 people of twelve habits (careful, quick, fond of long answers, of ties ...), in a third
of the crowds a group that shares a taste, on 3 to 6 contestants and 60 to 160 examples; the quality of an
answer is its own, beside its author's. A rigger raises one of the weaker half, or lowers one of the stronger.
A ring is four accounts, and is found when three are. Prints Markdown.

    python -m perf.riggers                       # the half that was held back while the detector was changed
    python -m perf.riggers --half shown
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from toolkit.arena.moderation import voter_reports
from toolkit.arena.store import VoteRow
from toolkit.types import Outcome

SIDES: tuple[Outcome, Outcome] = ("a", "b")
HALVES = {"shown": 50_000, "held-back": 90_000}
RING = 4  # accounts


@dataclass(frozen=True)
class Arena:
    """Contestants and their answers: how good and how long each is."""

    quality: np.ndarray  # (examples, contestants)
    length: np.ndarray
    strength: np.ndarray
    """Of the contestants, (contestants,)."""

    @classmethod
    def drawn(cls, rng: Generator) -> Arena:
        contestants, examples = int(rng.integers(3, 7)), int(rng.integers(60, 161))
        strength = np.sort(rng.normal(0, 0.7, contestants))
        quality = strength + rng.normal(0, 0.9, (examples, contestants))
        return cls(quality, rng.normal(0, 1, quality.shape) + rng.normal(0, 0.6, contestants), strength)


@dataclass
class Person:
    """An honest voter's habits."""

    votes: int
    noise: float = 0.8
    tie_band: float = 0.4
    lean: float = 0.0
    """Towards the answer on the left, in units of quality."""
    length: float = 0.1
    seconds: float = 25.0
    both_bad: float = -1.2
    """Below this quality of both a tie is a double reproach."""
    taste: np.ndarray | float = field(default=0.0)

    def choose(self, arena: Arena, example: int, a: int, b: int, rng: Generator) -> tuple[Outcome, float]:
        value = arena.quality[example] + self.length * arena.length[example] + self.taste
        gap = value[a] - value[b] + self.lean + rng.logistic(0, 0.55 * self.noise)
        seconds = float(self.seconds * rng.lognormal(0, 0.6))
        if abs(gap) < self.tie_band:
            return ("both_bad" if max(value[a], value[b]) < self.both_bad else "tie"), seconds
        return SIDES[int(gap < 0)], seconds


def people(arena: Arena, rng: Generator) -> list[Person]:
    """An honest crowd."""
    habits: tuple[Callable[[int], Person], ...] = (
        Person,
        lambda n: Person(n, seconds=50, noise=0.5),
        lambda n: Person(n, seconds=4, noise=1.2),
        lambda n: Person(2 * n, seconds=7),
        lambda n: Person(n, length=0.8),
        lambda n: Person(n, length=-0.5, seconds=12),
        lambda n: Person(n, tie_band=1.6),
        lambda n: Person(n, tie_band=0.0),
        lambda n: Person(max(4, n // 5)),
        lambda n: Person(n, noise=2.0, seconds=15),
        lambda n: Person(n, lean=0.25),
        lambda n: Person(n, both_bad=0.3, tie_band=0.9),
    )
    crowd = []
    for _ in range(int(rng.integers(12, 61))):
        person = habits[int(rng.integers(len(habits)))](int(rng.integers(20, 81)))
        person.taste = rng.normal(0, 0.35, len(arena.strength))
        crowd.append(person)
    if rng.random() < 1 / 3:  # a taste that a group shares
        fond = np.zeros(len(arena.strength))
        fond[rng.integers(len(fond))] = 1.5
        for person in crowd[: max(3, len(crowd) // int(rng.integers(3, 6)))]:
            person.taste = person.taste + fond
    return crowd


Chooser = Callable[[int, int, int, int], tuple[Outcome, float]]  # number of the vote, example, sides


def rigger(kind: str, arena: Arena, rng: Generator) -> list[Chooser]:  # noqa: C901 - one branch a kind
    """The accounts of one rigger."""
    half, person = -(-len(arena.strength) // 2), Person(60)
    raised = int(rng.integers(half))
    if kind == "always against one":
        raised = len(arena.strength) - 1 - raised
    pause = float(rng.choice([2.0, 6.0, 20.0]))
    script = rng.choice(["a", "b", "tie"], 500, p=[0.45, 0.45, 0.1])
    minds: dict[tuple[int, int, int], Outcome] = {}

    def honest(_: int, example: int, a: int, b: int) -> tuple[Outcome, float]:
        return person.choose(arena, example, a, b, rng)

    def time() -> float:
        return float(pause * rng.lognormal(0, 0.5))

    def one_side(share: float) -> Chooser:
        return lambda n, e, a, b: ("a", time()) if rng.random() < share else honest(n, e, a, b)

    def contestant(share: float, outcomes: tuple[Outcome, Outcome] = SIDES) -> Chooser:
        def choose(n: int, e: int, a: int, b: int) -> tuple[Outcome, float]:
            if raised not in (a, b) or rng.random() >= share:
                return honest(n, e, a, b)
            return outcomes[int(raised == b)], time()

        return choose

    def clicks(noise: float) -> Chooser:
        return lambda n, e, a, b: (str(script[n]) if rng.random() > noise else str(rng.choice(SIDES)), time())  # type: ignore[return-value]

    def choices(n: int, e: int, a: int, b: int) -> tuple[Outcome, float]:
        """One mind behind all accounts: a battle that comes again is voted as before, but for slips."""
        key, turned = (e, min(a, b), max(a, b)), a > b
        if key not in minds:
            outcome = rng.choice(SIDES)
            minds[key] = outcome
        outcome = minds[key] if rng.random() > 0.06 else rng.choice(SIDES)
        return SIDES[int((outcome == "b") != turned)], time()

    def random(*_: int) -> tuple[Outcome, float]:
        return ("a", "b", "tie", "both_bad")[int(rng.choice(4, p=[0.4, 0.4, 0.15, 0.05]))], time()

    def mixture(n: int, e: int, a: int, b: int) -> tuple[Outcome, float]:
        return contestant(1.0)(n, e, a, b) if raised in (a, b) else random()

    found: dict[str, list[Chooser]] = {
        "always the left": [one_side(1.0)],
        "the left, 85%": [one_side(0.7)],
        "always one contestant": [contestant(1.0)],
        "one contestant, 90%": [contestant(0.9)],
        "always against one": [contestant(1.0, ("b", "a"))],
        "one contestant, else random": [mixture],
        "copied clicks, 5% noise": [clicks(0.05) for _ in range(RING)],
        "copied clicks, 15% noise": [clicks(0.15) for _ in range(RING)],
        "copied choices": [choices for _ in range(RING)],
        "ring for one contestant": [contestant(1.0) for _ in range(RING)],
        "random": [random],
        "hurried": [lambda *battle: (honest(*battle)[0], float(rng.lognormal(-0.5, 0.4)))],
    }
    return found[kind]


KINDS = ("always the left", "the left, 85%", "always one contestant", "one contestant, 90%",
         "always against one", "one contestant, else random", "copied clicks, 5% noise",
         "copied clicks, 15% noise", "copied choices", "ring for one contestant", "random",
         "hurried")  # fmt: skip


def crowd(seed: int, kind: str | None, votes: int = 60) -> list[VoteRow]:
    """Votes of an honest crowd and, unless `kind` is `None`, of one rigger's accounts, `rig-...`."""
    rng = np.random.default_rng(seed)
    arena = Arena.drawn(rng)
    examples, contestants = arena.quality.shape
    voters: list[tuple[str, int, Chooser]] = []
    for number, person in enumerate(people(arena, rng)):
        chooser = lambda _, e, a, b, person=person: person.choose(arena, e, a, b, rng)  # noqa: E731
        voters.append((f"person-{number}", person.votes, chooser))
    for number, chooser in enumerate(rigger(kind, arena, rng) if kind else ()):
        voters.append((f"rig-{number}", votes, chooser))
    turns = [(who, n) for who, (_, count, _) in enumerate(voters) for n in range(count)]
    order = {who: _seen(rng, examples, contestants, count) for who, (_, count, _) in enumerate(voters)}
    rows = []
    for at, place in enumerate(sorted(range(len(turns)), key=lambda i: (turns[i][1], rng.random()))):
        who, n = turns[place]
        if n >= len(order[who]):
            continue  # no unseen answer is left
        e, a, b = order[who][n]
        outcome, seconds = voters[who][2](n, e, a, b)
        key = f"{e}-{min(a, b)}-{max(a, b)}"
        fields = (at, key, f"e{e}", f"m{a}", f"m{b}", outcome, voters[who][0], None, float(at))
        rows.append(VoteRow(*fields, seconds, "battle", False))
    return rows


def _seen(rng: Generator, examples: int, contestants: int, count: int) -> list[tuple[int, int, int]]:
    """Battles as the arena draws them: no answer twice for one voter."""
    drawn: list[tuple[int, int, int]] = []
    for _ in range(-(-contestants // 2)):
        for example in rng.permutation(examples):
            left = [
                c for c in range(contestants) if not any(e == example and c in (a, b) for e, a, b in drawn)
            ]
            if len(left) > 1 and len(drawn) < count:
                a, b = (int(c) for c in rng.choice(left, 2, replace=False))
                drawn.append((int(example), a, b))
    return drawn


def measure(kind: str | None, votes: int, seeds: range) -> tuple[int, int]:
    """In how many crowds the rigger is found, and an honest voter is accused."""
    found = accused = 0
    for seed in seeds:
        flagged = [r.voter for r in voter_reports(crowd(seed, kind, votes)) if r.flagged]
        rigged = sum(voter.startswith("rig") for voter in flagged)
        ring = kind is not None and (kind.startswith("copied") or kind.startswith("ring"))
        found += rigged >= (RING - 1 if ring else 1)
        accused += rigged < len(flagged)
    return found, accused


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--crowds", type=int, default=20)
    options.add_argument("--votes", type=int, nargs="+", default=[20, 40, 60, 120], help="of each rigger")
    options.add_argument("--half", choices=HALVES, default="held-back")
    given = options.parse_args()
    first, wrong, worlds = HALVES[given.half], 0, 0
    counts = given.votes
    print(f"| rigger | found at {' | '.join(map(str, counts))} votes |\n| --- |{' --- |' * len(counts)}")
    for kind in KINDS:
        cells = []
        for votes in counts:
            found, accused = measure(kind, votes, range(first, first + given.crowds))
            cells.append(f"{found} of {given.crowds}")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)
        wrong, worlds = wrong + accused, worlds + given.crowds
    print(f"\nAn honest voter is accused in {wrong} of {worlds} of the crowds of the last column;", end=" ")
    worlds = 10 * given.crowds
    _, wrong = measure(None, 0, range(first + 1000, first + 1000 + worlds))
    print(f"without a rigger, in {wrong} of {worlds}.", flush=True)


if __name__ == "__main__":
    main()
