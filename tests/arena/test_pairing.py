"""Which battle comes next: balanced over pairs, examples and sides, or drawn by doubt."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from toolkit.arena.battles import BattlePool
from toolkit.arena.pairing import Tally, draw_battle, sorted_pair
from toolkit.recipe import ArenaOptions

DOUBTFUL = ("heron-a1", "otter-b2")


def drawn(pool: BattlePool, tally: Tally, battles: int) -> Counter[str]:
    """How often each pair, example and left side came, drawn one after the other."""
    rng, came = np.random.default_rng(0), Counter[str]()
    for _ in range(battles):
        battle = draw_battle(pool, tally, set(), rng)
        assert battle is not None
        tally.add_shown(battle.example_id, battle.a, battle.b)
        came.update((" ".join(sorted_pair(battle.a, battle.b)), battle.example_id, f"left: {battle.a}"))
    return came


def test_uniform_pairing_balances_pairs_examples_and_sides(pool: BattlePool) -> None:
    uniform = replace(pool, options=ArenaOptions(pairing="uniform"))
    came = drawn(uniform, Tally(), 60)
    assert [came[" ".join(both)] for both in pool.pairs] == [20, 20, 20]
    assert {came[example] for example in pool.answers} == {3}, "each pair once on each example"
    assert [came[f"left: {name}"] for name in pool.contestants] == [20, 20, 20]


def test_active_pairing_prefers_the_pair_in_doubt(pool: BattlePool) -> None:
    tally = Tally()
    for name in DOUBTFUL:
        for _ in range(30):
            tally.add_vote(name, "badger-c3", "a")
    came = drawn(replace(pool, options=ArenaOptions(pairing="active")), tally, 100)
    assert came[" ".join(DOUBTFUL)] > 90


def test_pairs_beyond_any_doubt_are_still_shown(pool: BattlePool) -> None:
    tally = Tally()
    for better, worse in (("otter-b2", "heron-a1"), ("otter-b2", "badger-c3"), ("heron-a1", "badger-c3")):
        tally.add_vote(better, worse, "a", 30_000)
        tally.add_vote(better, worse, "b", 3_000)
    options = ArenaOptions(pairing="active", goal=100_000)
    assert drawn(replace(pool, options=options), tally, 5).total() == 15
