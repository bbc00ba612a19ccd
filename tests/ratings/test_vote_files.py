"""Vote files: every format reads alike, and what does not fit is named with its file and row."""

import json

import pandas as pd
import pytest

from toolkit import io
from toolkit.errors import DataError, RatingError
from toolkit.ratings import RATED, bradley_terry, read_votes
from toolkit.types import Vote

FRAME = pd.DataFrame(
    {
        "model_a": ["x", "NA", "x"],
        "model_b": ["NA", "1", "1"],
        "winner": ["model_a", "tie (bothbad)", "model_b"],
        "voter": ["ann", "bob", "ann"],
        "weight": [1.0, 0.5, 2.0],
        "comment": ["", "one, two", 'said "no"'],
    }
)


def write(folder, kind):
    path = folder / f"votes.{kind}"
    if kind == "csv":
        FRAME.to_csv(path, index=False)
    elif kind == "parquet":
        FRAME.to_parquet(path)
    else:
        FRAME.to_json(path, orient="records", lines=kind == "jsonl")
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_every_format_reads_alike(tmp_path, kind):
    whole = read_votes(write(tmp_path, kind))
    assert whole.astype(object).to_dict("list") == FRAME.to_dict("list")
    rated = read_votes(write(tmp_path, kind), columns=RATED)
    assert rated.astype(object).to_dict("list") == FRAME.drop(columns="comment").to_dict("list")


@pytest.mark.parametrize("columns", [None, RATED])
def test_our_own_vote_logs_are_read(tmp_path, columns):
    cast = [
        Vote(example_id="e1", model_a="x", model_b="y", outcome="a", cast_at=5.0),
        Vote(example_id="e2", model_a="y", model_b="x", outcome="both_bad"),
    ]
    io.write(tmp_path / "votes.jsonl", cast)
    frame = read_votes(tmp_path / "votes.jsonl", columns=columns)
    assert list(frame["winner"]) == ["model_a", "tie (bothbad)"]
    assert list(frame["question_id"]) == ["e1", "e2"]
    assert frame["tstamp"][0] == 5.0
    assert bradley_terry(frame).ratings == bradley_terry(cast).ratings


BAD = {
    "unknown outcome": ({"model_a": "x", "model_b": "y", "winner": "left"}, "winner is 'left'"),
    "no outcome": ({"model_a": "x", "model_b": "y"}, "winner is (None|nan)"),
    "itself": ({"model_a": "x", "model_b": "x", "winner": "tie"}, "x is on both sides"),
    "no name": ({"model_a": "", "model_b": "y", "winner": "tie"}, "model_a is ''"),
    "a number": ({"model_a": 7, "model_b": "y", "winner": "tie"}, "model_a is 7; it must be a name"),
    "a list": ({"model_a": ["x"], "model_b": "y", "winner": "tie"}, r"model_a is \['x'\]"),
    "weight": ({"model_a": "x", "model_b": "y", "winner": "tie", "weight": -1}, "weight is -1"),
    "probability": (
        {"model_a": "x", "model_b": "y", "winner": "tie", "probability_a": 1.5},
        "probability_a is 1.5",
    ),
}


@pytest.mark.parametrize("columns", [None, RATED])
@pytest.mark.parametrize(("row", "message"), BAD.values(), ids=BAD)
def test_a_bad_row_is_named_by_its_line(tmp_path, row, message, columns):
    good = {"model_a": "x", "model_b": "y", "winner": "tie", "weight": 1}
    lines = [good, good, row, good, {**row, "model_b": "later"}]
    text = "\n" + "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "v.jsonl").write_text(text)
    with pytest.raises(DataError, match=rf"v\.jsonl:4: {message}"):
        read_votes(tmp_path / "v.jsonl", columns=columns)


def test_a_bad_row_of_a_csv_file_is_named_by_the_line_it_begins_on(tmp_path):
    text = 'model_a,model_b,winner,note\nx,y,tie,"two\nlines"\n\nx,y,draw,\n'
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(DataError, match=r"v\.csv:5: winner is 'draw'; it must be one of model_a, model_b"):
        read_votes(tmp_path / "v.csv")


def test_a_bad_row_of_a_parquet_file_is_named_by_its_number(tmp_path):
    FRAME.assign(model_b=["y", None, "z"]).to_parquet(tmp_path / "v.parquet")
    with pytest.raises(DataError, match=r"v\.parquet:2: model_b is (None|nan)"):
        read_votes(tmp_path / "v.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.csv", b"model_a,winner\nx,model_a\n", r"v\.csv: no column model_b"),
        ("v.csv", b"", r"v\.csv: no column model_a"),
        ("v.csv", b"model_a,model_b,winner\nx,y\n", r"v\.csv:2: 2 cells where the heading has 3"),
        ("v.csv", b"model_a,model_b,winner\nx,\xff,tie\n", r"v\.csv: not UTF-8"),
        ("v.csv", b"model_a,model_b,winner,weight\nx,y,tie,1\nx,y,tie,lots\n", r"v\.csv:3: weight is 'lots'"),
        ("v.csv", b"x" * 200_000, r"v\.csv: no column model_a"),
        ("v.jsonl", b'{"model_a": "x"\n{}\n', r"v\.jsonl:1: not JSON"),
        ("v.jsonl", b"[1]\n", r"v\.jsonl:1: a vote is an object, not list"),
        ("v.json", b'{"a": 1}', r"v\.json: a JSON vote file is a list"),
        ("v.json", b"[{]", r"v\.json:1: not JSON"),
        ("v.parquet", b"PAR1", r"v\.parquet: not a Parquet file"),
        ("v.txt", b"", r"v\.txt: cannot read \.txt files as votes; use one of \.csv"),
    ],
)
@pytest.mark.parametrize("columns", [None, RATED])
def test_broken_files_are_named(tmp_path, name, content, message, columns):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_votes(tmp_path / name, columns=columns)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.csv", "model_a,model_b,winner,weight\nx,y,model_a,1\nx,y,model_a,nan\n"),
        (
            "v.jsonl",
            '{"model_a":"x","model_b":"y","winner":"tie","weight":1}\n' * 1
            + '{"model_a":"x","model_b":"y","winner":"tie","weight":NaN}\n',
        ),
        ("v.csv", 'model_a,model_b,winner,weight\n"x,y,model_a,1\nx,y,model_a,2\n'),
        ("v.jsonl", '\n{"model_a":"x","model_b":"y","winner":"tie","winner":"model_a"}\n'),
    ],
)
def test_ambiguous_votes_are_refused_by_line(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    for columns in (None, RATED):
        with pytest.raises(DataError, match=r"v\.\w+:(2|3): .*(NaN|nan|never closed|twice)"):
            read_votes(tmp_path / name, columns=columns)


def test_a_file_that_ends_inside_a_character_is_named(tmp_path):
    (tmp_path / "v.csv").write_bytes(b"model_a,model_b,winner,note\nx,y,draw,\xef")
    with pytest.raises(DataError, match=r"v\.csv: not UTF-8"):
        read_votes(tmp_path / "v.csv", columns=RATED)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: no such vote file"):
        read_votes(tmp_path / "gone.csv")


@pytest.mark.parametrize("columns", [None, RATED])
def test_a_torn_last_line_is_left_out_and_an_unended_one_is_not(tmp_path, columns):
    line = json.dumps({"model_a": "x", "model_b": "y", "winner": "tie"})
    (tmp_path / "v.jsonl").write_text(f"{line}\n{line}")
    assert len(read_votes(tmp_path / "v.jsonl", columns=columns)) == 2
    (tmp_path / "v.jsonl").write_text(f'{line}\n{line}\n{{"model_a": "x", "mod')
    assert len(read_votes(tmp_path / "v.jsonl", columns=columns)) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.csv", "model_a,model_b,winner\nx,y,tie"),
        ("v.jsonl", '{"model_a": "x", "model_b": "y", "winner": "tie"}'),
        ("v.json", '[{"model_a": "x", "model_b": "y", "winner": "tie"}]'),
    ],
)
@pytest.mark.parametrize("columns", [None, RATED])
def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path, name, text, columns):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (vote,) = read_votes(tmp_path / name, columns=columns).to_dict("records")
    assert vote == {"model_a": "x", "model_b": "y", "winner": "tie"}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
@pytest.mark.parametrize("columns", [None, RATED])
def test_two_turns_of_one_question_are_two_examples(tmp_path, kind, columns):
    """MT-bench's human judgments have `turn`; in arena logs it is the length of a conversation."""
    rows = [("81", 1), ("81", 2), ("82", 1)]
    frame = FRAME.assign(question_id=[q for q, _ in rows], turn=[turn for _, turn in rows])
    writers = {"csv": frame.to_csv, "parquet": frame.to_parquet}
    path = tmp_path / f"votes.{kind}"
    if kind in writers:
        writers[kind](path, index=False)
    else:
        frame.to_json(path, orient="records", lines=kind == "jsonl")
    assert list(read_votes(path, columns=columns)["question_id"]) == ["81", "81/2", "82"]
    frame.assign(question_id=["x", "y", "z"]).to_csv(tmp_path / "arena.csv", index=False)
    assert list(read_votes(tmp_path / "arena.csv", columns=columns)["question_id"]) == ["x", "y", "z"]


def test_votes_of_no_weight_at_all_are_refused():
    with pytest.raises(RatingError, match="every vote has the weight 0"):
        bradley_terry(FRAME.assign(weight=0.0))
