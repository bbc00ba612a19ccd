"""Which battle comes next: drawn by known probabilities that nobody outside can sharpen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.arena.conftest import Clock
from toolkit.arena.battles import Ballot, BattlePool
from toolkit.arena.pairing import draw_battle, pair_probabilities
from toolkit.arena.service import ArenaService, Rules
from toolkit.arena.store import Store
from toolkit.arena.tally import Tally
from toolkit.recipe import ArenaOptions
from toolkit.types import sorted_pair

DOUBTFUL = ("heron-a1", "otter-b2")


def drawn(pool: BattlePool, tally: Tally, battles: int) -> Counter[str]:
    """How often each pair, example and left side came, drawn one after the other."""
    rng, came = np.random.default_rng(0), Counter[str]()
    for _ in range(battles):
        battle = draw_battle(pool, tally, set(), rng)
        assert battle is not None
        came.update((" ".join(sorted_pair(battle.a, battle.b)), battle.example_id, f"left: {battle.a}"))
    return came


def test_uniform_pairing_balances_pairs_examples_and_sides(pool: BattlePool) -> None:
    came = drawn(replace(pool, options=ArenaOptions(pairing="uniform")), Tally(), 3000)
    assert [came[" ".join(both)] for both in pool.pairs] == pytest.approx([1000] * 3, abs=110)
    assert [came[example] for example in pool.answers] == pytest.approx([150] * 20, abs=50)
    assert [came[f"left: {name}"] for name in pool.contestants] == pytest.approx([1000] * 3, abs=110)


def test_active_pairing_prefers_the_pair_in_doubt_and_leaves_the_others_half_their_chance(
    pool: BattlePool,
) -> None:
    tally = Tally()
    for name in DOUBTFUL:
        for _ in range(30):
            tally.add_vote(name, "badger-c3", "a")
    active = replace(pool, options=ArenaOptions(pairing="active"))
    chances = dict(zip(pool.pairs, pair_probabilities(active, tally, pool.pairs), strict=True))
    assert min(chances.values()) >= 1 / 6
    assert chances[DOUBTFUL] > 0.6
    assert drawn(active, tally, 1000)[" ".join(DOUBTFUL)] == pytest.approx(1000 * chances[DOUBTFUL], abs=60)


def test_no_predictor_beats_the_stored_probabilities(
    pool: BattlePool, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pairs there are, all votes, one's own id and the seed are known; the arena's secret is not."""
    rules = Rules(seed=0, per_minute=10_000)
    desk = ArenaService(pool, Store(url), rules, clock)
    twin = ArenaService(pool, Store(url.replace("arena.db", "twin.db")), rules, clock)  # its own secret
    tally = Tally()
    tally.add_vote("otter-b2", "badger-c3", "a", 25)
    for each in (desk, twin):
        monkeypatch.setattr(each, "tally", lambda: tally)
        monkeypatch.setattr(each, "_revealed", lambda _: set())
        monkeypatch.setattr(each.store, "seen_battles", lambda _: set())
    visits = [(f"voter-{number // 20}", number % 20) for number in range(2000)]
    real = [desk._draw(*visit) for visit in visits]
    chances = pair_probabilities(pool, tally, pool.pairs)
    likeliest = pool.pairs[int(chances.argmax())]
    predictors = {
        "an arena with the same seed and votes": [sides(twin._draw(*visit)) for visit in visits],
        "the likeliest pair, one order": [likeliest] * len(real),
        "the pair and order of the battle before": [likeliest, *map(sides, real[:-1])],
        "the other order of the battle before": [likeliest, *(sides(each)[::-1] for each in real[:-1])],
    }
    for name, guesses in predictors.items():
        hits = sum(sides(ballot) == guess for ballot, guess in zip(real, guesses, strict=True))
        chance = [chances[pool.pairs.index(sorted_pair(*guess))] / 2 for guess in guesses]
        assert abs(hits - sum(chance)) < 4 * sum(p * (1 - p) for p in chance) ** 0.5, name
    assert {ballot.pair_probability for ballot in real} == set(chances.tolist())


def sides(ballot: Ballot) -> tuple[str, str]:
    return ballot.contestant_a, ballot.contestant_b


def test_pairs_beyond_any_doubt_are_still_shown(pool: BattlePool) -> None:
    tally = Tally()
    for better, worse in (("otter-b2", "heron-a1"), ("otter-b2", "badger-c3"), ("heron-a1", "badger-c3")):
        tally.add_vote(better, worse, "a", 30_000)
        tally.add_vote(better, worse, "b", 3_000)
    options = ArenaOptions(pairing="active", goal=100_000)
    assert drawn(replace(pool, options=options), tally, 5).total() == 15
