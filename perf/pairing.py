"""How many fewer votes active pairing needs than uniform pairing, for the same certainty; simulated.

    python -m perf.pairing

Voters follow a Bradley-Terry model, with ties. The question to both ways of pairing is the same: how many
votes until the order of every pair of contestants is known with less than 2.5% doubt? `wrong` is the share of
runs in which some pair was then the other way round after all.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from toolkit.arena.battles import BattlePool
from toolkit.arena.pairing import draw_battle, misorder_probability, posterior, win_matrix
from toolkit.arena.tally import Tally
from toolkit.recipe import ArenaOptions
from toolkit.types import Completion

UNCERTAINTY = 0.025
TIES = 0.2
MOST, LOOK = 6000, 10
"""A run ends after `MOST` votes, and is looked at every `LOOK`."""

FIELDS = {
    "base, two stages and a rival": (0.0, 0.9, 1.2, 1.6),
    "six of a kind, evenly spaced": (0.0, 0.4, 0.8, 1.2, 1.6, 2.0),
    "eight, two of them close": (0.0, 0.5, 1.0, 1.25, 1.8, 2.3, 2.8, 3.3),
}
"""Strengths in log-odds."""


def contest(size: int, pairing: str) -> BattlePool:
    """Contestants with answers to thirty examples."""
    names = tuple(f"m{index}" for index in range(size))
    answers = {
        f"e{number}": {
            name: Completion(
                example_id=f"e{number}",
                contestant=name,
                messages=(),
                completion=name,
                finish="stop",
                tokens=1,
            )
            for name in names
        }
        for number in range(30)
    }
    return BattlePool("simulated", names, answers, frozenset(), ArenaOptions(pairing=pairing, goal=100_000))


def votes_needed(strengths: tuple[float, ...], pairing: str, seed: int) -> tuple[int, bool]:
    """Votes until no order is in doubt, and whether some order is wrong then."""
    rng = np.random.default_rng(seed)
    field, tally = contest(len(strengths), pairing), Tally()
    strength = dict(zip(field.contestants, strengths, strict=True))
    for votes in range(1, MOST + 1):
        battle = draw_battle(field, tally, set(), rng)
        assert battle is not None
        chance = 1 / (1 + np.exp(strength[battle.b] - strength[battle.a]))
        outcome = "tie" if rng.random() < TIES else "a" if rng.random() < chance else "b"
        tally.add_vote(battle.a, battle.b, outcome)
        if votes % LOOK == 0:
            wins = win_matrix(tally, field.contestants)
            if misorder_probability(wins)[np.triu_indices(len(strengths), 1)].max() < UNCERTAINTY:
                break
    return votes, bool((np.diff(posterior(wins)[0]) < 0).any())


def saving(strengths: tuple[float, ...], repeats: int) -> dict[str, float]:
    """Mean votes of both ways, and the share of votes saved with its 95% interval over repeats."""
    ways = ("uniform", "active")
    found = {way: np.array([votes_needed(strengths, way, seed) for seed in range(repeats)]) for way in ways}
    needed = {way: found[way][:, 0] for way in ways}
    rng = np.random.default_rng(0)
    picks = rng.integers(repeats, size=(2000, repeats))
    shares = 1 - needed["active"][picks].mean(axis=1) / needed["uniform"][picks].mean(axis=1)
    return {
        "uniform": float(needed["uniform"].mean()),
        "active": float(needed["active"].mean()),
        "saved": round(1 - float(needed["active"].mean() / needed["uniform"].mean()), 3),
        "low": round(float(np.percentile(shares, 2.5)), 3),
        "high": round(float(np.percentile(shares, 97.5)), 3),
        "wrong_uniform": float(found["uniform"][:, 1].mean()),
        "wrong_active": float(found["active"][:, 1].mean()),
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--repeats", type=int, default=40)
    arguments = options.parse_args()
    for name, strengths in FIELDS.items():
        print(json.dumps({"contestants": name, **saving(strengths, arguments.repeats)}), flush=True)


if __name__ == "__main__":
    main()
