"""Several training seeds: what intervals and p-values hold then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import io
from toolkit.metrics import Measurement, difference, score
from toolkit.metrics.intervals import clustered, crossed_margin, crossed_p_value, restricted
from toolkit.metrics.measurement import pool_samples, read_by_seed, read_measurements, values_by_seed


def measured(values: np.ndarray, name: str = "sft", **more: object) -> Measurement:
    """A mean of a table (examples, seeds)."""
    ids = tuple(f"e{number}" for number in range(len(values)))
    first, *others = (tuple((float(value),) for value in column) for column in values.T)
    fields = {"contestant": name, "metric": "m", "kind": "mean", "example_ids": ids, "rows": first}
    return Measurement.model_validate(fields | {"replicas": others} | more)


def test_the_interval_holds_examples_and_seeds():
    rng = np.random.default_rng(0)
    examples, seeds = rng.normal(0, 0.3, (200, 1)), np.array([[-0.2, 0.0, 0.3]])
    base = rng.normal(0, 0.3, (200, 1))
    spread, alike = (measured(examples + by_seed) for by_seed in (seeds, 0 * seeds + 0.1 / 3))
    wide, narrow = (difference(each, measured(base, "base")) for each in (spread, alike))
    assert wide
    assert narrow
    assert wide.value == pytest.approx(narrow.value)
    one = measured(examples + seeds[:, :1])
    alone = difference(one, measured(base, "base"))
    assert alone
    # Of like models the interval is that of one; of unlike ones it is Student's with two degrees of freedom.
    assert narrow.high - narrow.low == pytest.approx(alone.high - alone.low, rel=0.02)
    assert wide.high - wide.low > 2 * 4.30 * np.std([-0.2, 0.0, 0.3], ddof=1) / np.sqrt(3)
    assert wide.p_value > narrow.p_value
    assert score(spread).value == pytest.approx(float((examples + seeds).mean()))


def test_stages_with_seeds_are_paired_by_seed():
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 0.5, (1, 3))  # DPO stands on SFT of the same seed
    noise = rng.normal(0, 0.1, (60, 3))
    sft, dpo = measured(noise + shared), measured(noise + shared + 0.1 + rng.normal(0, 0.05, (60, 3)), "dpo")
    found = difference(dpo, sft)
    assert found
    assert found.low > 0
    assert found.value == pytest.approx(0.1, abs=0.03)


@given(st.integers(0, 2**32 - 1), st.integers(3, 6), st.floats(0.01, 2))
def test_the_p_value_is_the_level_whose_interval_reaches_zero(seed: int, seeds: int, apart: float):
    values = np.random.default_rng(seed).normal(size=(20, seeds))
    p = crossed_p_value(values, apart)
    assert 1e-9 <= p <= 1
    if 1e-9 < p < 1:
        assert crossed_margin(values, p) == pytest.approx(apart, rel=1e-6)


def test_of_no_spread_at_all_intervals_are_those_of_one_model():
    right = np.ones((20, 3))
    assert score(measured(right)) == score(measured(right[:, :1]))


def test_parts_and_groups_keep_every_seed():
    values = np.arange(12.0).reshape(4, 3)
    part = restricted(measured(values), {"e1", "e3"})
    assert part.example_ids == ("e1", "e3")
    assert part.replicas[1] == ((5.0,), (11.0,))
    groups = clustered(measured(values), {"e0": "x", "e1": "x", "e2": "y", "e3": "y"})
    assert groups.value == pytest.approx(values.mean())
    assert [len(rows) for rows in (groups.rows, *groups.replicas)] == [2, 2, 2]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_figures_of_other_seeds_are_read_where_there_are_three(seeds: int, tmp_path: Path):
    for number in (1, 2, 3):
        folder = tmp_path if number == 1 else tmp_path / "seeds" / str(number)
        io.write(folder / "measurements" / "sft.jsonl", [measured(np.full((4, 1), float(number)))])
    (found,) = read_measurements(tmp_path, "sft", seeds)
    assert found.value == {1: 1.0, 2: 1.0, 3: 2.0}[seeds]
    assert values_by_seed(read_by_seed(tmp_path, "sft", seeds))["m"] == [1.0, 2.0, 3.0][:seeds]
    assert "replicas" not in found.model_dump()


def test_several_answers_to_an_example_are_one_row_of_it():
    first, second = (measured(np.array(values)[:, None]) for values in ([1.0, 0.0, 1.0], [0.0, 0.0, 1.0]))
    missing = second.model_copy(update={"example_ids": ("e0", "e2"), "rows": ((0.0,), (1.0,))})
    (both,) = pool_samples([[first], [missing]])
    assert both.per_example() == {"e0": 0.5, "e1": 0.0, "e2": 1.0}
    bleu = {"kind": "ratio", "rows": ((1.0, 4.0), (3.0, 4.0), (0.0, 2.0))}
    (summed,) = pool_samples([[first.model_copy(update=bleu)], [second.model_copy(update=bleu)]])
    assert summed.value == pytest.approx(4 / 10), "a corpus metric of all answers"
    assert pool_samples([[first]]) == [first]
    many = [measured(np.random.default_rng(seed).random((50, 1)).round()) for seed in range(8)]
    one, eight = (score(pool_samples([[each] for each in some])[0]) for some in (many[:1], many))
    assert eight.high - eight.low < 0.5 * (one.high - one.low), "sampling is a part of the interval"
