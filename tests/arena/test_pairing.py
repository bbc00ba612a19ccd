"""Which battle comes next: drawn by known probabilities that nobody outside can sharpen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.arena.conftest import Clock
from toolkit.arena import accepted_votes
from toolkit.arena.battles import Ballot, BattlePool
from toolkit.arena.pairing import draw_battle, pair_probabilities, residual_deviations
from toolkit.arena.service import ArenaService, Rules
from toolkit.arena.store import Store
from toolkit.arena.tally import Tally
from toolkit.arena.vote_io import battle_row, import_votes, load_vote_rows, parse_votes, write_battle_log
from toolkit.errors import DataError
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


@pytest.mark.slow
def test_no_predictor_beats_the_stored_probabilities(
    pool: BattlePool, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pairs there are, all votes, one's own id and the seed are known; the arena's secret is not."""
    rules = Rules(seed=0, per_minute=10_000)
    service = ArenaService(pool, Store(url), rules, clock)
    twin = ArenaService(pool, Store(url.replace("arena.db", "twin.db")), rules, clock)  # its own secret
    tally = Tally()
    tally.add_vote("otter-b2", "badger-c3", "a", 25)
    for each in (service, twin):
        monkeypatch.setattr(each, "tally", lambda: tally)
        monkeypatch.setattr(each, "_revealed", lambda _: set())
        monkeypatch.setattr(each.store, "seen_battles", lambda _: set())
    visits = [(f"voter-{number // 20}", number % 20) for number in range(2000)]
    real = [service._draw(*visit) for visit in visits]
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


def test_examples_are_drawn_where_the_judge_is_least_certain_and_the_weights_undo_it(
    pool: BattlePool,
) -> None:
    """Of a pair's 20 examples the judge is unsure on 10, and has no vote on one."""
    pair, examples = pool.pairs[0], list(pool.answers)
    judged = {(e, pair): 0.5 if k < 10 else 0.05 for k, e in enumerate(examples) if k != 19}
    none = np.zeros(0)
    deviations = residual_deviations(np.array(list(judged.values())), none, none)
    assert deviations == pytest.approx([0.5, 0.5, 0.3, 0.5])
    guided, rng = replace(pool, judged=judged, contestants=pair), np.random.default_rng(1)
    draws = [draw_battle(guided, Tally(), set(), rng, set(), deviations) for _ in range(4000)]
    unsure = np.array([guided.judged.get((d.example_id, pair)) == 0.5 for d in draws])
    assert unsure.mean() == pytest.approx(0.5 * 0.5 + 0.5 * 5 / 8.2, abs=0.025)
    weights = np.array([d.weight for d in draws])
    assert weights.max() < 2
    assert np.average(unsure, weights=weights) == pytest.approx(0.5, abs=0.03)
    assert [d.probability * 2 * d.weight for d in draws] == pytest.approx([1 / 20] * 4000)
    uniform = replace(guided, options=ArenaOptions(pairing="uniform"))
    assert draw_battle(uniform, Tally(), set(), rng, set(), deviations).weight == pytest.approx(1)


def test_people_show_where_the_judge_is_least_certain() -> None:
    """A sure judge whom people contradict half of the time tells nothing: examples are drawn alike."""
    judged = np.repeat([0.45, 0.05], 50)
    right = residual_deviations(judged, np.tile([1.0, 0.0], 50), judged)
    assert right[0] == pytest.approx(right[2], abs=0.03)
    right = residual_deviations(judged, np.where(judged < 0.1, 0.0, np.tile([1.0, 0.0], 50)), judged)
    assert right[0] > 2 * right[2]


def test_a_votes_weight_is_stored_rated_and_travels(service: ArenaService, tmp_path: Path, url: str) -> None:
    ballot = service._draw("ann", 0).model_copy(update={"weight": 0.75})
    service.store.add_ballot(ballot)
    service.vote("ann", ballot.id, "a")
    assert [row.vote.weight for row in service.votes().rows] == [0.75]
    assert accepted_votes(url)[0].weight == 0.75
    (reveal,) = service.store.cast_votes()
    other = Store(f"sqlite:///{tmp_path}/other.db")
    for suffix in ("jsonl", "csv"):
        file = tmp_path / f"votes.{suffix}"
        write_battle_log(file, [battle_row(reveal)])
        import_votes(other, parse_votes(load_vote_rows(file)), run="r")
        assert [row.weight for row in other.vote_rows("r")] == [0.75]
    with pytest.raises(DataError, match="weight is 'much'; it must be 0 or more"):
        parse_votes([("x:1", {**battle_row(reveal), "weight": "much"})])


def sides(ballot: Ballot) -> tuple[str, str]:
    return ballot.contestant_a, ballot.contestant_b


def test_pairs_beyond_any_doubt_are_still_shown(pool: BattlePool) -> None:
    tally = Tally()
    for better, worse in (("otter-b2", "heron-a1"), ("otter-b2", "badger-c3"), ("heron-a1", "badger-c3")):
        tally.add_vote(better, worse, "a", 30_000)
        tally.add_vote(better, worse, "b", 3_000)
    options = ArenaOptions(pairing="active", goal=100_000)
    assert drawn(replace(pool, options=options), tally, 5).total() == 15
