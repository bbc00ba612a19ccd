"""Agreement: published figures from published votes, Krippendorff's own example, and what must not change."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from toolkit.cli import main
from toolkit.errors import RatingError
from toolkit.ratings import tabulate
from toolkit.ratings.agreement import Agreement, agreement, agreement_sentence
from toolkit.ratings.vote_table import Table

WINNERS = ("model_a", "model_b", "tie")


def table(outcomes: list[tuple[int, int]], voter: str = "v") -> Table:
    """Votes (question, outcome) of one voter on the answers of x and y."""
    rows = [
        {
            "model_a": "x",
            "model_b": "y",
            "winner": WINNERS[reply],
            "question_id": f"q{question}",
            "voter": voter,
        }
        for question, reply in outcomes
    ]
    return tabulate(pd.DataFrame(rows))


def several(columns: list[list[int | None]], side: str = "v") -> Table:
    frames = [
        {
            "model_a": "x",
            "model_b": "y",
            "winner": WINNERS[reply],
            "question_id": f"q{i}",
            "voter": f"{side}{number}",
        }
        for number, column in enumerate(columns)
        for i, reply in enumerate(column)
        if reply is not None
    ]
    return tabulate(pd.DataFrame(frames))


votes_of_two = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=40)


@given(votes_of_two)
def test_kappa_is_scikit_learns(pairs: list[tuple[int, int]]):
    one, other = zip(*pairs, strict=True)
    found = agreement(table(list(enumerate(one))), table(list(enumerate(other)))).between
    expected = cohen_kappa_score(one, other) if len({*one, *other}) > 1 else np.nan
    if np.isnan(expected):
        assert found.kappa.value is None
    else:
        assert found.kappa.value == pytest.approx(expected, abs=1e-12)
    assert found.agreement.value == pytest.approx(np.mean([a == b for a, b in pairs]))


@pytest.mark.slow
@given(votes_of_two)
def test_sides_may_be_swapped_and_turned(pairs: list[tuple[int, int]]):
    def figures(found: Agreement) -> list[float | None]:
        return [
            found.agreement.value,
            found.agreement_without_ties.value,
            found.kappa.value,
            found.alpha.value,
        ]

    one, other = (table([(i, pair[side]) for i, pair in enumerate(pairs)]) for side in (0, 1))
    turned = tabulate(
        pd.DataFrame(
            {"model_a": "y", "model_b": "x", "winner": WINNERS[(1, 0, 2)[pair[1]]], "question_id": f"q{i}"}
            for i, pair in enumerate(pairs)
        )
    )
    straight = figures(agreement(one, other).between)
    assert figures(agreement(other, one).between) == pytest.approx(straight, nan_ok=True)
    assert figures(agreement(one, turned).between) == pytest.approx(straight, nan_ok=True)


def test_alpha_of_an_example_worked_by_hand():
    """Two coders, ten units, no agreement on one of them (Krippendorff 2011, binary example)."""
    one = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    other = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    found = agreement(table(list(enumerate(one))), table(list(enumerate(other)))).between
    assert found.alpha.value == pytest.approx(0.095, abs=5e-4)


def test_published_kappas_between_people(shared_data: Path):
    """PandaLM's README: 0.85, 0.88 and 0.86 between its annotators on 999 pairs; these are the first 500."""
    file = shared_data / "judge_pandalm" / "first500.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    reply = [[{0: 2, 1: 0, 2: 1}[row[f"annotator{k}"]] for row in rows] for k in (1, 2, 3)]
    for one, other in combinations(reply, 2):
        kappa = agreement(table(list(enumerate(one))), table(list(enumerate(other)))).between.kappa
        assert kappa.value == pytest.approx(cohen_kappa_score(one, other))
        assert kappa.value == pytest.approx(0.86, abs=0.06)
    people = several(reply)
    judge = [{"1": 0, "2": 1, "Tie": 2}.get(row["gpt35_verdict"]) for row in rows]
    found = agreement(several([judge], "judge"), people)
    assert found.within is not None
    assert found.within.kappa.low is not None
    assert found.between.kappa.value is not None
    assert found.between.kappa.value < found.within.kappa.low
    assert "not shown to be as good as one of theirs" in agreement_sentence(found)


@pytest.mark.slow
def test_published_agreement_between_a_judges_two_orders(shared_data: Path):
    """LLMBar's own statistics of stored verdicts, to the last digit."""
    folder, checked = shared_data / "judge_llmbar", 0
    published = [json.loads(line) for line in (folder / "published_stats.jsonl").read_text().splitlines()]
    for row in published:
        file = folder / f"{row['set'].replace('/', '_')}.jsonl"
        if not file.exists():
            continue
        key = f"{row['judge']}/{row['prompt']}"
        lines = [line for line in file.read_text().splitlines() if key in json.loads(line)["judges"]]
        verdicts = [json.loads(line)["judges"][key] for line in lines]
        orders = [[verdict[f"swap = {swap}"] for verdict in verdicts] for swap in (False, True)]
        if not verdicts or {reply for order in orders for reply in order} - {"1", "2"}:
            continue
        one, other = ([(i, int(reply) - 1) for i, reply in enumerate(order)] for order in orders)
        found = agreement(table(one), table(other)).between
        assert found.agreement.value == pytest.approx(float(row["equal"].split("=")[1].strip(" %")) / 100)
        label = table([(i, int(json.loads(line)["label"]) - 1) for i, line in enumerate(lines)])
        for order, swap in ((one, False), (other, True)):
            right = float(row[f"correct_{swap}"].split("=")[1].strip(" %")) / 100
            assert agreement(table(order), label).between.agreement.value == pytest.approx(right, abs=1e-12)
        if not np.isnan(row["kappa_agreement"]):
            assert found.kappa.value == pytest.approx(row["kappa_agreement"], abs=1e-12)
        checked += 1
    assert checked >= 30  # of 48; in the others some verdicts are unreadable


def test_several_voters_each_unit_weighs_the_same():
    found = agreement(several([[0, 0]], "judge"), several([[0, 0], [1, 0], [1, None]]))
    assert found.between.agreement.value == pytest.approx((1 / 3 + 1) / 2)
    assert found.within is not None
    assert found.within.agreement.value == pytest.approx((1 / 3 + 1) / 2)


def test_nobody_is_set_against_their_own_votes():
    people = several([[0, 0], [1, 0]])
    one = several([[0, 0]])  # the first of them
    assert agreement(one, people).between.agreement.value == pytest.approx(0.5)


def test_figures_do_not_depend_on_names():
    rng = np.random.default_rng(0)
    rows = [
        {"model_a": a, "model_b": b, "question_id": f"q{k}"}
        for k in range(20)
        for a, b in combinations("xyz", 2)
    ]
    one, other = (rng.choice(WINNERS, len(rows), p=[0.6, 0.3, 0.1]) for _ in range(2))
    found = []
    for names in ("xyz", "zxy", "yzx"):
        renamed = pd.DataFrame(rows).replace(dict(zip("xyz", names, strict=True)))
        both = [tabulate(renamed.assign(winner=winner)) for winner in (one, other)]
        found.append(agreement(*both).between)
    assert len({(round(f.kappa.value, 12), round(f.alpha.value, 12)) for f in found}) == 1


def test_five_of_five_is_no_certainty_and_no_claim():
    same = list(enumerate([0, 1, 0, 1, 0]))
    found = agreement(table(same), table(same))
    for figure in (found.between.agreement, found.between.kappa, found.between.alpha):
        assert figure.value == figure.high == 1
        assert figure.low < 0.75
    assert "With fewer than 10 pairs nothing more is claimed" in agreement_sentence(found)


@pytest.mark.parametrize(("right", "good"), [(0.85, True), (0.65, False)])
def test_as_good_as_a_person_is_shown_not_assumed(right, good):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 400)
    people = several([list(np.where(rng.random(400) < 0.85, truth, 1 - truth)) for _ in range(3)])
    judge = several([list(np.where(rng.random(400) < right, truth, 1 - truth))], "judge")
    found = agreement(judge, people)
    assert found.as_good_as_one == good
    few = agreement(several([list(truth[:12])], "judge"), people)
    assert not few.as_good_as_one  # not refuted, and not shown


def test_nothing_in_common_is_reported():
    with pytest.raises(RatingError, match="no answers to the same question"):
        agreement(table([(1, 0)]), table([(2, 0)]))


def test_mt_benchs_judgments_are_set_against_its_human_ones_turn_by_turn(tmp_path: Path):
    """In the files' own formats: the judge's `*_pair.jsonl`, and people's with `turn` and `winner`."""
    games = {
        (81, 1): ("model_1", "model_1"),
        (81, 2): ("model_2", "model_1"),
        (82, 1): ("model_2", "model_2"),
    }
    judge = [
        {"question_id": question, "turn": turn, "model_1": "x", "model_2": "y", "judge": ["gpt-4", "pair-v2"]}
        | {"g1_winner": one, "g2_winner": other}
        for (question, turn), (one, other) in games.items()
    ]
    reply = {(81, 1): "model_a", (81, 2): "tie (inconsistent)", (82, 1): "model_a"}
    people = [
        {"question_id": question, "turn": turn, "model_a": "x", "model_b": "y", "judge": "author_0"}
        | {"winner": "tie" if winner.startswith("tie") else winner}
        for (question, turn), winner in reply.items()
    ]
    for name, rows in (("pair", judge), ("people", people)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(tmp_path / "pair.jsonl"), str(tmp_path / "people.jsonl")]
    found = json.loads(CliRunner().invoke(main, ["agreement", *files, "--json"]).stdout)
    assert found["n"] == 3
    assert found["agreement"]["value"] == pytest.approx(2 / 3)
    assert found["agreement_without_ties"]["value"] == pytest.approx(1 / 2)


def test_the_command_and_its_categories(tmp_path: Path):
    rows = [(i, i % 3, "easy" if i % 2 else "hard") for i in range(30)]
    for name, shift in (("judge", 0), ("people", 1)):
        frame = pd.DataFrame(
            {
                "model_a": "x",
                "model_b": "y",
                "winner": WINNERS[(reply + shift * (i % 5 == 0)) % 3],
                "question_id": f"q{i}",
                "category": category,
            }
            for i, reply, category in rows
        )
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    files = [str(tmp_path / "judge.csv"), str(tmp_path / "people.csv")]
    shown = CliRunner().invoke(main, ["agreement", *files])
    assert shown.exit_code == 0, shown.output
    assert "easy" in shown.output
    assert "They say the same on 80%" in shown.output
    plain = json.loads(CliRunner().invoke(main, ["agreement", *files, "--json"]).stdout)
    assert plain["n"] == 30
    assert plain["agreement"]["value"] == pytest.approx(0.8)
    assert set(plain["categories"]) == {"easy", "hard"}
    assert plain["agreement"]["low"] < 0.8 < plain["agreement"]["high"]
