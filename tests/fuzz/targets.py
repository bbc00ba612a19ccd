"""What untrusted bytes may and may not do to each reader; a target raises only where the reader is at fault.

The same four functions are run by hypothesis in `test_fuzz.py`, briefly, and by `campaign.py` for as long as
anyone likes.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from perf.agreement import read_scores
from tests.arena.voting import import_rows
from toolkit import recipe as recipes
from toolkit.arena.store import Store
from toolkit.arena.vote_io import frame_rows
from toolkit.data import load_examples, load_rows
from toolkit.data.readers import Rows
from toolkit.errors import DataError, RecipeError
from toolkit.judge.generative import extract_reason
from toolkit.judge.parsing import read_grade, read_outcome
from toolkit.ratings import RATED, read_votes, tabulate
from toolkit.recipe import DataSource
from toolkit.types import WINNERS, Verdict

logging.getLogger("toolkit").setLevel(logging.ERROR)

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
STORE = Store("sqlite://")


def must(held: object, why: object = "") -> None:
    """As `assert`, which would read as a test's own."""
    if not held:
        raise AssertionError(why)


def recipe(data: bytes) -> None:
    """A recipe is read, or refused in lines that each begin with its file; what is read survives its dump."""
    file = FOLDER / "recipe.yaml"
    file.write_bytes(data)
    try:
        read = recipes.load(file)
    except RecipeError as error:
        must(all(line.startswith(str(file)) for line in str(error).splitlines()), error)
        return
    file.write_text(recipes.dump(read), encoding="utf-8")
    must(recipes.load(file) == read, "the dump reads differently")


SUFFIXES = (".jsonl", ".json", ".csv", ".txt", ".parquet")


def dataset(data: bytes) -> None:
    """The first byte chooses the kind of file, the line after it is a filter, and the rest are the rows."""
    kind, (line, _, rows) = data[:1], data[1:].partition(b"\n")
    file = FOLDER / f"rows{SUFFIXES[(ord(kind or b'a') - ord('a')) % len(SUFFIXES)]}"
    file.write_bytes(rows)
    expression = line.decode(errors="replace") or None
    for read in (load_rows, load_examples):
        source = DataSource(source=str(file), filter=expression, skip_bad_rows=bool(len(rows) % 2))
        try:
            found = read(source)
        except DataError as error:
            must(str(file) in str(error) or "filter" in str(error), error)
        else:
            must(found.fingerprint if isinstance(found, Rows) else [row.model_dump_json() for row in found])


def votes(data: bytes) -> None:
    """Votes are read and imported, or refused with the file's name; reading just some columns agrees."""
    suffixes = (".csv", ".jsonl", ".json", ".parquet")
    file = FOLDER / f"votes{suffixes[(data[:1] or b'a')[0] % len(suffixes)]}"
    file.write_bytes(data[1:])
    try:
        frame = read_votes(file)
    except DataError as error:
        must(str(error).startswith(str(file)), error)
        return
    must(set(frame["winner"]) <= set(WINNERS.values()), "another outcome")
    if len(frame):
        must(len(tabulate(read_votes(file, columns=RATED))) == len(frame), "columns alone give other votes")
    try:
        imported = import_rows(STORE, frame_rows(frame), run="fuzz", source=file.name)
    except DataError as error:
        must(str(error).startswith(file.name), error)
    else:
        must(sum(imported) == len(frame), "votes were lost")


def judge(data: bytes) -> None:
    """A reply has one meaning or none, and it fits into a record that can be written."""
    reply = data.decode(errors="replace")
    outcome, grade, scores = read_outcome(reply), read_grade(reply), read_scores(reply)
    must(outcome in (None, "a", "b", "tie"), outcome)
    must(grade is None or 1 <= grade <= 10, grade)
    must(scores is None or all(0 <= score <= 10 for score in scores), scores)
    verdict = Verdict(battle_id="x", judge="j", order="ab", outcome=outcome, reason=extract_reason(reply))
    must(Verdict.model_validate_json(verdict.model_dump_json()) == verdict, "the verdict reads differently")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "recipe": recipe,
    "dataset": dataset,
    "votes": votes,
    "judge": judge,
}

_ROW = {"prompt": "a", "chosen": "b", "rejected": "c", "label": True, "completion": "d", "text": "e"}
_TURNS = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
_CHATS = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"}
_VOTE = {"model_a": "x", "model_b": "y", "winner": "model_a", "tstamp": 1.5, "weight": 1, "judge": "j"}
_REPLIES = {"conversation_a": _TURNS["messages"], "conversation_b": _TURNS["messages"], "question_id": 3}

SEEDS: dict[str, list[bytes]] = {
    "recipe": [
        (recipes.PACKAGED / "demo.yaml").read_bytes(),
        b"name: x\nbase: y\ndata: {d: {source: d.jsonl, limit: 3}}\n"
        b"stages: [{name: s, method: sft, data: d, adapter: {r: 4}, trainer: {learning_rate: 1e-4}}]\n",
        b"name: x\nbase: y\ndata: {d: {source: d.jsonl}}\nscoring: {examples: d}\njudge: {pairs: all}\n",
        b"name: x\nbase: ~/m\ndata: {d: {source: ~/d.csv}}\nscoring: {examples: d}\n"
        b"contestants: {c: {model: ../o.gguf}}\njudge: {jury: [{model: ~me/j}, {}]}\n",
    ],
    "dataset": [
        b"a\n" + json.dumps(_ROW).encode() + b"\n",
        b"a\n" + json.dumps(_TURNS).encode() + b"\n" + json.dumps(_CHATS).encode(),
        b"b\n" + json.dumps([_ROW, _TURNS]).encode(),
        b'clabel != "x" and prompt in ["a", "b"]\nprompt,completion,label\na,b,x\n',
        b"d\npart one\n\npart two\n",
        b'a\n{"instruction": "i", "input": "n", "output": "o", "category": "k"}',
        b'a\n{"prompt": "p", "reference": "r", "id": 3}',
    ],
    "votes": [
        b"\x00model_a,model_b,winner,tstamp,weight\nx,y,model_a,1.5,1\ny,x,tie (bothbad),2,1\n",
        b"\x01" + json.dumps(_VOTE).encode() + b"\n" + json.dumps(_VOTE | _REPLIES).encode() + b"\n",
        b"\x02" + json.dumps([_VOTE, _VOTE | _REPLIES]).encode(),
        b'\x01{"model_a": "x", "model_b": "y", "outcome": "both_bad", "example_id": "e"}\n',
    ],
    "judge": [
        b"I compare. [[A]]",
        b"[[A>>B]] and [[B>A]]",
        b'```json\n{"verdict": "tie", "reason": "same", "grade": 7}\n```',
        b"8 9.5",
        b"Assistant 1: 7\nAssistant 2: 8/10",
        b"Therefore, the better answer is Answer (B).",
        b"Rating: [[7]]",
    ],
}
"""Well-formed inputs to start from."""
