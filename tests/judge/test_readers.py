"""Answers and judgments as other tools write them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.judge.example_battles import RuleJudge, battle, completion
from toolkit import io
from toolkit.errors import DataError
from toolkit.generate.importers import read_answer_files
from toolkit.judge import judge_battles
from toolkit.judge.aggregation import aggregate_votes
from toolkit.judge.battles import build_battles
from toolkit.judge.readers import (
    battle_log,
    judgment,
    mt_bench_judgments,
    read_preferences,
)
from toolkit.judge.readers import (
    rows as read_rows,
)
from toolkit.ratings import bradley_terry
from toolkit.recipe import Judge
from toolkit.types import Vote


def written(path: Path, *rows: dict) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_judgments(file: Path) -> list[Vote]:
    return [vote for place, row in read_rows(file) for vote in judgment(row, place)]


def test_our_own_completions(tmp_path: Path):
    io.write(tmp_path / "base.jsonl", [completion("base", 0), completion("base", 1)])
    found = read_answer_files([tmp_path / "base.jsonl"])
    assert found == {"base": [completion("base", 0), completion("base", 1)]}


def test_alpaca_eval_outputs(tmp_path: Path):
    rows = [
        {"dataset": "koala", "instruction": "Why?", "output": f"{model} says", "generator": model}
        for model in ("m1", "m2")
    ]
    found = read_answer_files([written(tmp_path / "model_outputs.json", *rows)])
    (battles,) = build_battles(found, Judge())
    assert (battles.model_a, battles.completion_b, battles.category) == ("m1", "m2 says", "koala")
    assert battles.messages[0].content == "Why?"


def test_mt_bench_answers_are_two_battles_the_second_with_own_first_turns(tmp_path: Path):
    question = {
        "question_id": 81,
        "category": "writing",
        "turns": ["Write.", "Rewrite."],
        "reference": ["R1"],
    }
    questions = written(tmp_path / "question.jsonl", question)
    files = [
        written(
            tmp_path / f"{model}.jsonl",
            {
                "question_id": 81,
                "model_id": model,
                "choices": [{"index": 0, "turns": [f"{model}1", f"{model}2"]}],
            },
        )
        for model in ("x", "y")
    ]
    found = read_answer_files(files, questions=questions)
    first, second = build_battles(found, Judge())
    assert (first.example_id, second.example_id) == ("81", "81/2")
    assert (first.reference, first.category) == ("R1", "writing")
    assert (first.completion_a, first.messages_b) == ("x1", None)
    assert [turn.content for turn in second.messages] == ["Write.", "x1", "Rewrite."]
    assert [turn.content for turn in second.messages_b] == ["Write.", "y1", "Rewrite."]
    assert (second.completion_b, second.reference) == ("y2", None)
    with pytest.raises(DataError, match="question 81 is not known; give the questions' file"):
        read_answer_files(files)


def test_arena_hard_answers_of_both_versions(tmp_path: Path):
    questions = written(
        tmp_path / "question.jsonl", {"question_id": "q", "cluster": "c", "turns": [{"content": "Sum?"}]}
    )
    choices = [{"index": 0, "turns": [{"content": "four", "token_len": 1}]}]
    old = written(tmp_path / "old.jsonl", {"question_id": "q", "model_id": "m", "choices": choices})
    talk = [{"role": "user", "content": "Sum?"}, {"role": "assistant", "content": {"answer": "five"}}]
    new = written(tmp_path / "new.jsonl", {"uid": "q", "model": "n", "messages": talk})
    found = read_answer_files([old, new], questions=questions)
    (battles,) = build_battles(found, Judge())
    assert (battles.completion_a, battles.completion_b, battles.category) == ("four", "five", "c")


def test_prompts_with_outputs(tmp_path: Path):
    row = {"id": 7, "prompt": "Why?", "reference": "so", "outputs": {"m1": "a", "m2": "b"}}
    found = read_answer_files([written(tmp_path / "outputs.jsonl", row)])
    (battles,) = build_battles(found, Judge())
    assert (battles.example_id, battles.reference, battles.completion_b) == ("7", "so", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n', "x.jsonl:1: columns a are of no known format"),
        ('{"prompt": "p", "outputs": ["t"]}\n', "x.jsonl:1: not as the file's first row"),
        ("nonsense\n", "x.jsonl:1: not JSON"),
        ("[1]\n", "x.jsonl:1: a row is a JSON object"),
    ],
)
def test_rows_that_fit_no_format_are_named(tmp_path: Path, text: str, message: str):
    file = tmp_path / "x.jsonl"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_answer_files([file])


def test_the_real_sets_are_read(shared_data: Path):
    arena_hard = read_answer_files([shared_data / "prompts_arenahard" / "v01.jsonl"])
    assert {name: len(rows) for name, rows in arena_hard.items()} == dict.fromkeys(
        ("gpt-4-0314", "gpt-4-0613", "gpt-3.5-turbo-0125"), 200
    )
    instructions = read_answer_files([shared_data / "ref_selfinstruct" / "test.jsonl"])
    assert len(build_battles(instructions, Judge())) == 152 * 28
    assert all(row.reference for rows in instructions.values() for row in rows[:5])


def judge_files(tmp_path: Path) -> tuple[list, list]:
    battles = [battle(i, *(("long answer", "short")[:: 1 if i else -1])) for i in range(3)]
    judge = RuleJudge(lambda one, other: None if "Q" in one else "a" if len(one) > len(other) else "b")
    return battles, judge_battles(judge, battles, store=tmp_path / "kept")


def test_mt_bench_judgments_come_back_as_the_same_votes(tmp_path: Path):
    battles, verdicts = judge_files(tmp_path)
    rows = mt_bench_judgments(battles, verdicts)
    assert [row["g1_winner"] for row in rows] == ["model_2", "model_1", "model_1"]
    back = read_judgments(written(tmp_path / "pair.jsonl", *rows))
    ours = aggregate_votes(battles, verdicts)
    assert [(v.example_id, v.model_a, v.outcome, v.voter) for v in back] == [
        (v.example_id, v.model_a, v.outcome, v.voter) for v in ours
    ]


def test_mt_bench_errors_are_no_votes_and_disagreements_ties(tmp_path: Path):
    row = {"question_id": 1, "model_1": "x", "model_2": "y", "judge": ["gpt-4", "pair-v2"], "turn": 1}
    games = [("model_1", "model_2"), ("model_1", "error"), ("model_2", "model_2"), ("tie", "model_1")]
    rows = [row | {"g1_winner": one, "g2_winner": other} for one, other in games]
    back = read_judgments(written(tmp_path / "pair.jsonl", *rows))
    assert [vote.outcome for vote in back] == ["tie", "b", "tie"]
    with pytest.raises(DataError, match="winners must be one of"):
        read_judgments(written(tmp_path / "bad.jsonl", row | {"g1_winner": "x", "g2_winner": "y"}))


def test_alpaca_eval_annotations(tmp_path: Path):
    row = {"instruction": "Why?", "generator_1": "base", "generator_2": "mine", "annotator": "gpt-4"}
    row |= {"output_1": "because", "output_2": "so"}
    rows = [row | {"preference": value} for value in (1, 2, 1.5, 0, None, 1.9)]
    file = written(tmp_path / "annotations.json", *rows)
    assert [vote.outcome for vote in read_judgments(file)] == ["a", "b", "tie", "tie", "b"]
    found = read_preferences(file)
    assert [row.value for row in found] == pytest.approx([0, 1, 0.5, 0.5, 0.9])
    assert {(row.contestant, row.length, row.length_against) for row in found} == {("mine", 2, 7)}


def test_battle_logs_have_the_columns_of_fastchat(tmp_path: Path):
    battles, verdicts = judge_files(tmp_path)
    rows = battle_log(aggregate_votes(battles, verdicts))
    needed = {"question_id", "model_a", "model_b", "winner", "judge", "turn", "anony", "language", "tstamp"}
    assert all(needed <= row.keys() for row in rows)
    assert [row["winner"] for row in rows] == ["model_b", "model_a", "model_a"]
    assert not any("probability_a" in row for row in rows)
    likely = [vote.model_copy(update={"probability_a": 0.51}) for vote in aggregate_votes(battles, verdicts)]
    assert [row["probability_a"] for row in battle_log(likely)] == [0.51] * 3, "so that `ratings` rates alike"


def test_arena_rank_rates_a_battle_log_as_we_do(tmp_path: Path):
    data_utils = pytest.importorskip("arena_rank.utils.data_utils")
    models = pytest.importorskip("arena_rank.models.bradley_terry")
    battles, verdicts = judge_files(tmp_path)
    cast = aggregate_votes(battles, verdicts)
    pairs = data_utils.PairDataset.from_pandas(pd.DataFrame(battle_log(cast)))
    theirs = models.BradleyTerry(len(pairs.competitors)).compute_ratings_and_cis(pairs)["ratings"]
    ours = {row.contestant: row.value for row in bradley_terry(cast).ratings}
    assert ours == pytest.approx(dict(zip(pairs.competitors, map(float, theirs), strict=True)), abs=0.1)
