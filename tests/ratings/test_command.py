"""`adapter-arena ratings`, and three lines in a notebook."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.arena.voting import import_rows
from tests.ratings.logs import simulated
from toolkit.arena.store import Store
from toolkit.cli import main
from toolkit.ratings import bradley_terry

LOG = simulated(3, 300, seed=4).assign(
    voter=np.where(np.arange(300) % 2 == 0, "ann", "bob"),
    category=np.where(np.arange(300) % 3 == 0, "code", "talk"),
    length_a=np.arange(300) % 17 + 1,
    length_b=np.arange(300) % 23 + 1,
)


def call(*arguments):
    return CliRunner().invoke(main, ["ratings", *map(str, arguments)])


@pytest.fixture
def log(tmp_path):
    LOG.to_csv(tmp_path / "votes.csv", index=False)
    return tmp_path / "votes.csv"


def test_three_lines_in_a_notebook():
    fit = bradley_terry(LOG)
    board = pd.DataFrame(map(dict, fit.ratings))
    assert list(board.columns) == ["contestant", "value", "low", "high", "battles", "rank"]
    assert list(board["contestant"]) == ["m2", "m1", "m0"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet", "store"])
def test_every_source_is_rated_alike(tmp_path, kind):
    rows = LOG[["model_a", "model_b", "winner"]]
    if kind == "store":
        source = f"sqlite:///{tmp_path / 'arena.db'}"
        import_rows(Store(source), rows.to_dict("records"), run="r", source="log")
    elif kind == "csv":
        rows.to_csv(source := tmp_path / "votes.csv", index=False)
    elif kind == "parquet":
        rows.to_parquet(source := tmp_path / "votes.parquet")
    else:
        rows.to_json(source := tmp_path / f"votes.{kind}", orient="records", lines=kind == "jsonl")
    found = json.loads(call(source, "--json").stdout)
    over = "examples" if kind == "store" else "votes"
    assert (found["method"], found["votes"], found["interval"]) == ("bradley-terry", 300, over)
    rows = [row.model_dump() for row in bradley_terry(LOG.drop(columns="voter")).ratings]
    assert found["ratings"] == rows


def test_the_table_and_how_it_was_made(log):
    shown = call(log)
    assert shown.exit_code == 0
    assert shown.output.splitlines()[0].split() == "contestant rank rating 95% interval battles".split()
    assert "300 votes; intervals: 95%, over votes, for these 2 voters; fixed-sample decisions" in shown.output


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--method", "davidson"], "interval"),
        (["--method", "rao-kupper"], "interval"),
        (["--method", "elo", "--k", "8"], "k"),
        (["--method", "elo", "--order", "file"], "k"),
        (["--weight", "ann=0.5", "--anchor", "m0", "--centre", "0"], "prior"),
        (["--control", "length"], "coefficients"),
        (["--by", "category"], "category"),
        (["--pairs"], "pairs"),
    ],
)
def test_every_option_gives_a_leaderboard(log, arguments, key):
    done = call(log, *arguments, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert key in found
    assert {row["contestant"] for row in found["ratings"]} == {"m0", "m1", "m2"}
    assert call(log, *arguments).exit_code == 0


def test_every_pair_and_what_would_decide_it(log):
    fit = bradley_terry(LOG)
    found = json.loads(call(log, "--pairs", "--json").stdout)["pairs"]
    assert [(row["better"], row["than"]) for row in found] == [("m2", "m1"), ("m2", "m0"), ("m1", "m0")]
    for row in found:
        pair = row["better"], row["than"]
        assert row["expected"] == pytest.approx(fit.probability(*pair))
        assert row["confidence"] == pytest.approx(fit.confidence(*pair))
        assert row["votes_needed"] == fit.votes_needed(*pair)
    assert "m2 over m0" in call(log, "--pairs").output
    assert "decided" in call(log, "--pairs").output


def test_a_chart_is_a_picture_with_everybody_in_it(log, tmp_path):
    assert call(log, "--chart", tmp_path / "board.svg").exit_code == 0
    picture = (tmp_path / "board.svg").read_text()
    assert picture.startswith("<svg")
    assert all(f">{name}<" in picture for name in ("m0", "m1", "m2"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,y,left", "votes.csv:3: winner is 'left'; it must be one of model_a, model_b, tie"),
        ("x,x,tie", "votes.csv:3: x is on both sides"),
        (",y,tie", "votes.csv:3: model_a is ''; it must be a name"),
    ],
)
def test_a_bad_row_ends_with_code_2_and_names_it(tmp_path, row, message):
    (tmp_path / "votes.csv").write_text(f"model_a,model_b,winner\nx,y,tie\n{row}\n")
    done = call(tmp_path / "votes.csv")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--anchor", "nobody"], "no vote is on nobody; contestants: m0, m1, m2"),
        (["--weight", "ann"], "ann: write it as VOTER=NUMBER"),
        (["--control", "length", "--by", "category"], "--control and --by do not go together"),
        (["--method", "elo", "--pairs"], "--method elo and --pairs do not go together"),
        (["--method", "elo", "--anchor", "m0"], "--method elo and --anchor do not go together"),
        (["--k", "8"], "--k requires --method elo"),
        (["--order", "file"], "--order requires --method elo"),
    ],
)
def test_what_does_not_fit_ends_with_code_2(log, arguments, message):
    done = call(log, *arguments)
    assert (done.exit_code, message in done.stderr) == (2, True), done.output


def test_votes_without_the_label_to_split_by_are_refused(tmp_path):
    LOG[["model_a", "model_b", "winner"]].to_csv(tmp_path / "votes.csv", index=False)
    done = call(tmp_path / "votes.csv", "--by", "category")
    assert (done.exit_code, "--by category: no vote says its category" in done.stderr) == (2, True)


def test_a_judges_ratings_are_those_of_its_run():
    """Its mean probabilities are rated, not the whole wins that they come closest to."""
    run = Path(__file__).parents[2] / "results" / "demo-example"
    rated = json.loads(call(run, "--json").stdout)["ratings"]
    assert rated == json.loads((run / "summary.json").read_text())["ratings"]["judge"]
