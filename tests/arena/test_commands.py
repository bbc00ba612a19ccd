"""`votes` and `preferences` from the command line, on a real vote store."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.arena.example_run import write_run
from toolkit.arena import accepted_votes
from toolkit.arena.battles import load_battle_pool
from toolkit.arena.service import ArenaService
from toolkit.arena.store import Store
from toolkit.arena.vote_io import write_battle_log
from toolkit.cli import main
from toolkit.data import load_rows
from toolkit.recipe import DataSource


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with thirty votes: `otter-b2` always wins, `badger-c3` always loses."""
    folder = write_run(tmp_path / "household")
    service = ArenaService(load_battle_pool(folder), Store(f"sqlite:///{folder / 'arena.db'}"))
    order = ("badger-c3", "heron-a1", "otter-b2")
    for voter in ("ann", "bob"):
        service.register_voter(voter)
        for _ in range(15):
            ballot = service.store.ballot(service.ballot(voter).id)
            better = order.index(ballot.contestant_a) > order.index(ballot.contestant_b)
            service.vote(voter, ballot.id, "a" if better else "b")
    return folder


def battles_of(run: Path) -> int:
    """How many different battles were voted on."""
    return len({vote.battle_id for vote in accepted_votes(f"sqlite:///{run / 'arena.db'}")})


@pytest.mark.matrix
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_votes_survive_export_and_import(run: Path, tmp_path: Path, suffix: str) -> None:
    log, other = tmp_path / f"log.{suffix}", tmp_path / "other"
    other.mkdir()
    assert call("votes", "export", run, log).exit_code == 0
    for added, known in ((30, 0), (0, 30)):
        result = call("votes", "import", log, other, "--json")
        assert json.loads(result.stdout) == {"added": added, "known": known, "corrected": 0, "run": "other"}
    before = accepted_votes(f"sqlite:///{run / 'arena.db'}")
    after = accepted_votes(f"sqlite:///{other / 'arena.db'}")
    assert [(v.model_a, v.model_b, v.outcome) for v in after] == [
        (v.model_a, v.model_b, v.outcome) for v in before
    ]


@pytest.mark.parametrize("with_ids", [True, False])
def test_a_file_adds_what_it_has_more_than_the_store(run: Path, tmp_path: Path, with_ids: bool) -> None:
    call("votes", "export", run, tmp_path / "log.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    if not with_ids:
        rows = [{name: value for name, value in row.items() if name != "ballot_id"} for row in rows]
        rows = [row | {"voter": None, "tstamp": None, "question_id": "q"} for row in rows]  # many are alike

    def added(name: str, some: list[dict[str, object]], target: Path) -> int:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in some))
        result = json.loads(call("votes", "import", tmp_path / name, target, "--json").stdout)
        assert result["added"] + result["known"] == len(some)
        return int(result["added"])

    other = tmp_path / "other"
    other.mkdir()
    assert added("some.jsonl", rows[:20], other) == 20
    assert added("renamed.jsonl", rows[:20], other) == 0
    assert added("shorter.jsonl", rows[1:20], other) == 0
    assert added("turned.jsonl", rows[19::-1], other) == 0
    assert added("all.jsonl", rows, other) == 10
    assert len(accepted_votes(f"sqlite:///{other / 'arena.db'}")) == 30
    if with_ids:
        assert added("home.jsonl", rows, run) == 0, "they are this arena's own"


@pytest.mark.parametrize("lacking", [{"ballot_id"}, {"question_id"}, {"ballot_id", "question_id"}])
def test_rows_that_lacked_ids_when_first_imported_are_known(
    run: Path, tmp_path: Path, lacking: set[str]
) -> None:
    file = tmp_path / "log.jsonl"
    call("votes", "export", run, file)
    whole = [json.loads(line) for line in file.read_text().splitlines()]
    part = [{name: value for name, value in row.items() if name not in lacking} for row in whole]
    changed = [whole[0] | {"winner": "tie" if whole[0]["winner"] != "tie" else "model_a"}, *whole[1:]]
    rounds = [(part, "30 votes added"), (whole, "30 were there"), (part, "30 were there")]
    for rows, text in [
        *rounds,
        *([(changed, "1 corrected"), (changed, "30 were")] if len(lacking) < 2 else []),
    ]:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert text in call("votes", "import", file, tmp_path).output
        assert len(accepted_votes(f"sqlite:///{tmp_path / 'arena.db'}")) == 30


def test_a_row_of_a_known_id_corrects_an_imported_vote_and_no_other(run: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "log.jsonl", tmp_path / "other"
    other.mkdir()
    call("votes", "export", run, file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]

    def imported(some: list[dict[str, object]], target: Path) -> Result:
        file.write_text("".join(json.dumps(row) + "\n" for row in some))
        return call("votes", "import", file, target)

    long = [row | {"ballot_id": f"{'0' * 40}{place}"} for place, row in enumerate(rows)]
    for given, where in ((rows, other), (long, tmp_path)):
        changed = [*given[:-1], given[-1] | {"winner": "tie"}]
        for some, text in (
            (given, "30 votes added"),
            (changed, "29 were there already; 1 corrected"),
            (changed, "; 30 were"),
        ):
            assert text in imported(some, where).output
            assert len(accepted_votes(f"sqlite:///{where / 'arena.db'}")) == 30
        assert accepted_votes(f"sqlite:///{where / 'arena.db'}")[-1].outcome == "tie"
    store = Store(f"sqlite:///{other / 'arena.db'}")
    assert [cast.outcome for cast in store.log(rows[-1]["ballot_id"])][1:] == ["tie"], "the first line stays"
    refused = [
        (run, [rows[-1] | {"winner": "tie"}], "was cast in this arena with another outcome"),
        (other, [rows[0] | {"ballot_id": rows[1]["ballot_id"]}], "is another battle's here"),
        (tmp_path, [rows[0], rows[0] | {"winner": "tie"}], "is in two rows that are different votes"),
    ]
    for where, some, text in refused:
        result = imported([*some, rows[2] | {"ballot_id": "new", "question_id": "new"}], where)
        assert (result.exit_code, text in result.stderr) == (2, True)
        assert len(accepted_votes(f"sqlite:///{where / 'arena.db'}")) == 30, "all or none"


def test_a_thumb_that_was_turned_is_the_same_vote(tmp_path: Path) -> None:
    row = {**FORMS["Open WebUI"], "id": "5f1c"}
    for rating, text in ((-1, "1 votes added"), (1, "1 corrected")):
        data = {**row["data"], "rating": rating}
        (tmp_path / "feedback.json").write_text(json.dumps([row | {"data": data}]))
        assert text in call("votes", "import", tmp_path / "feedback.json", tmp_path).output
    assert [vote.outcome for vote in accepted_votes(f"sqlite:///{tmp_path / 'arena.db'}")] == ["a"]


def test_examples_to_score_on_keep_the_columns_that_scoring_slices_by(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    examples = load_battle_pool(run).answers
    rows = [{"id": example, "prompt": "?", "level": f"level of {example}"} for example in examples]
    (run / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scoring = {"examples": "t", "slices": ["level", "length"]}
    recipe = {"name": "x", "base": "b", "data": {"t": {"source": "rows.jsonl"}}, "scoring": scoring}
    (run / "recipe.yaml").write_text(json.dumps(recipe))
    command = ("preferences", "--from-votes", run, "--out", tmp_path / "pairs.jsonl", "--heldout-share", 0.6)
    file = tmp_path / "round-2.jsonl"
    assert call(*command, "--scoring", file).exit_code == 0
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["level"] for row in written] == [f"level of {row['id']}" for row in written]
    (run / "rows.jsonl").unlink()
    assert call(*command, "--scoring", file).exit_code == 0
    assert "without the columns of scoring.slices" in caplog.text


@pytest.mark.parametrize("remove", [False, True])
def test_a_voter_is_forgotten_by_a_command(run: Path, remove: bool) -> None:
    options = ["--remove"] if remove else []
    assert json.loads(call("votes", "forget", run, "ann", "--json", *options).stdout)["battles"] == 15
    votes = accepted_votes(f"sqlite:///{run / 'arena.db'}")
    assert (len(votes), "ann" in {vote.voter for vote in votes}) == (15 if remove else 30, False)
    again = call("votes", "forget", run, "ann")
    assert (again.exit_code, "no voter ann" in again.stderr) == (2, True)


FORMS = {
    "kaggle": {"model_a": "x", "model_b": "y", "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0,
               "prompt": '["Why?"]', "response_a": '["No."]', "response_b": '["So."]'},
    "left and right": {"left": "x", "right": "y", "winner": "right", "timestamp": "2026-01-02 03:04:05.0"},
    "our log": {"model_a": "x", "model_b": "y", "outcome": "b"},
    "parts and ISO": {"model_a": "x", "model_b": "y", "winner": "model_b", "tstamp": "2026-01-02T03:04:05Z",
                      "conversation_a": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]},
                                         {"role": "assistant", "content": [{"type": "text", "text": "No."}]}],
                      "conversation_b": [{"role": "user", "content": "Why?"},
                                         {"role": "assistant", "content": "So."}]},
    "Open WebUI": {"type": "rating", "user_id": "u", "created_at": 5, "meta": {"message_id": "m"},
                   "data": {"rating": -1, "model_id": "x", "sibling_model_ids": ["y"], "tags": ["Style"]}},
    "FastChat": {"type": "rightvote", "tstamp": 5.0, "ip": "::1", "models": ["", ""],
                 "states": [{"model_name": "x", "conv_id": "c"}, {"model_name": "y", "conv_id": "d"}]},
    "MT-bench": {"question_id": 81, "model_1": "x", "model_2": "y", "g1_winner": "model_2",
                 "g2_winner": "model_2", "judge": ["gpt-4", "pair-v2"], "turn": 1},
    "AlpacaEval": {"instruction": "Why?", "generator_1": "x", "generator_2": "y", "preference": 1.9,
                   "dataset": "koala"},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_vote_files_of_others_are_read(tmp_path: Path, form: str) -> None:
    (tmp_path / "votes.json").write_text(json.dumps([FORMS[form]]))
    result = call("votes", "import", tmp_path / "votes.json", tmp_path, "--json")
    assert json.loads(result.stdout)["added"] == 1, result.output
    (reveal,) = Store(f"sqlite:///{tmp_path / 'arena.db'}").cast_votes()
    rated = json.loads(call("ratings", tmp_path / "votes.json", "--json").stdout)
    assert (rated["votes"], rated["ratings"][0]["contestant"]) == (1, "y")
    ballot = reveal.ballot
    assert (ballot.contestant_a, ballot.contestant_b, reveal.cast.outcome) == ("x", "y", "b")
    if form in ("kaggle", "parts and ISO"):
        assert (ballot.messages[0].content, ballot.answer_a, ballot.answer_b) == ("Why?", "No.", "So.")
    assert ballot.category == ("koala" if form == "AlpacaEval" else None)
    if form in ("parts and ISO", "left and right"):
        assert reveal.cast.cast_at == 1767323045


def test_rows_that_hold_no_vote_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone = FORMS["Open WebUI"] | {"data": {"rating": 1, "model_id": "x"}}
    (tmp_path / "votes.json").write_text(json.dumps([FORMS["Open WebUI"], alone]))
    result = call("votes", "import", tmp_path / "votes.json", tmp_path)
    assert "1 of 2 rows hold no vote" in caplog.text
    assert result.stdout.startswith("1 votes added")


@pytest.mark.parametrize(
    ("winner", "outcome"),
    [("tie (inconsistent)", "tie"), ("both_bad", "both_bad"), ("tie (bothbad)", "both_bad")],
)
def test_every_word_for_an_outcome_is_read(tmp_path: Path, winner: str, outcome: str) -> None:
    (tmp_path / "votes.csv").write_text(f"model_a,model_b,winner\nx,y,{winner}\n")
    call("votes", "import", tmp_path / "votes.csv", tmp_path)
    assert [vote.outcome for vote in accepted_votes(f"sqlite:///{tmp_path / 'arena.db'}")] == [outcome]


def test_a_judges_games_are_votes_in_both_orders(tmp_path: Path) -> None:
    games = [{"score": "A>>B"}, {"score": "B>A"}]
    row = {"question_id": "q", "model": "mine", "judge": "j", "baseline": "base", "games": games}
    (tmp_path / "games.jsonl").write_text(json.dumps(row) + "\n")
    call("votes", "import", tmp_path / "games.jsonl", tmp_path)
    votes = accepted_votes(f"sqlite:///{tmp_path / 'arena.db'}")
    assert [(vote.model_a, vote.model_b, vote.outcome) for vote in votes] == [
        ("base", "mine", "a"), ("mine", "base", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_reasons_survive_export_and_import(run: Path, tmp_path: Path, suffix: str) -> None:
    service = ArenaService(load_battle_pool(run), Store(f"sqlite:///{run / 'arena.db'}"))
    first = service.store.history("ann")[-1]
    service.annotate("ann", first.ballot.id, ("clear", "follows the instructions"), "short, and right")
    log, other = tmp_path / f"log.{suffix}", tmp_path / "other"
    other.mkdir()
    call("votes", "export", run, log)
    call("votes", "import", log, other)
    casts = [reveal.cast for reveal in Store(f"sqlite:///{other / 'arena.db'}").cast_votes()]
    assert [(cast.tags, cast.comment) for cast in casts if cast.tags or cast.comment] == [
        (("clear", "follows the instructions"), "short, and right")
    ]
    assert len(casts) == 30


def test_exported_votes_can_be_rated(run: Path, tmp_path: Path) -> None:
    call("votes", "export", run, tmp_path / "log.csv")
    ratings = json.loads(call("ratings", tmp_path / "log.csv", "--json").stdout)["ratings"]
    assert [row["contestant"] for row in ratings] == ["otter-b2", "heron-a1", "badger-c3"]


def test_texts_go_with_the_votes_when_requested(run: Path, tmp_path: Path) -> None:
    call("votes", "export", run, tmp_path / "log.jsonl", "--texts")
    other = tmp_path / "other"
    other.mkdir()
    call("votes", "import", tmp_path / "log.jsonl", other)
    pairs = [
        [
            (line["prompt"], line["chosen"])
            for line in map(json.loads, (tmp_path / name).read_text().splitlines())
        ]
        for name, source in (("one.jsonl", run), ("two.jsonl", other))
        if call("preferences", "--from-votes", source, "--out", tmp_path / name).exit_code == 0
    ]
    assert pairs[0] == pairs[1]
    assert len(pairs[0]) == battles_of(run)


def test_preferences_are_rows_that_training_reads(run: Path, tmp_path: Path) -> None:
    out, heldout = tmp_path / "pairs.jsonl", tmp_path / "heldout.jsonl"
    result = call("preferences", "--from-votes", run, "--out", out, "--heldout", heldout, "--json")
    counts = json.loads(result.stdout)
    assert counts["pairs"] + counts["heldout"] == battles_of(run)
    rows = load_rows(DataSource(source=str(out)), seed=0).rows
    assert len(rows) == counts["pairs"]
    assert not any(row.chosen.startswith("Hard to say") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("votes", "export", "nowhere", "log.csv"), "no vote store here"),
        (("preferences", "--from-votes", "nowhere", "--out", "x.jsonl"), "no vote store here"),
        (("votes", "import", "nowhere.csv", "."), "no such vote file"),
        (("serve", "nowhere"), "no completions"),
    ],
)
def test_what_is_missing_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_bad_row_of_a_log_is_named_and_nothing_is_imported(run: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("model_a,model_b,winner\nx,y,model_a\nx,y,nobody\n")
    result = call("votes", "import", log, run)
    assert result.exit_code == 2
    assert "log.csv:3: winner is 'nobody'" in result.stderr
    assert len(accepted_votes(f"sqlite:///{run / 'arena.db'}")) == 30


def test_contestants_that_the_run_lacks_are_named_at_import(run: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("model_a,model_b,winner\nbase,stranger,model_b\n")
    result = call("votes", "import", log, run)
    assert result.exit_code == 0
    assert f"warning: {run} has no answers of base, stranger;" in result.stderr


def test_a_csv_export_holds_no_formula(tmp_path: Path):
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "plain", "1-1"]
    write_battle_log(tmp_path / "log.csv", [{"text": text, "number": -1.5} for text in texts])
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [f"'{text}" for text in texts[:5]] + texts[5:]
    assert {row["number"] for row in rows} == {"-1.5"}


@pytest.mark.parametrize("kind", ["people", "simulated"])
def test_a_file_may_hold_a_voter_s_second_vote_on_a_battle(tmp_path: Path, kind: str) -> None:
    row = {"model_a": "x", "model_b": "y", "question_id": "q", "judge": "v", "tstamp": 5}
    rows = [row | {"winner": winner} for winner in ("model_a", "model_a", "tie")]
    (tmp_path / "votes.json").write_text(json.dumps(rows))
    for added in (3, 0):
        result = call("votes", "import", tmp_path / "votes.json", tmp_path, "--kind", kind, "--json")
        assert json.loads(result.stdout)["added"] == added, result.output


def test_simulated_voters_are_kept_apart_from_people(run: Path, tmp_path: Path):
    database, log, other = f"sqlite:///{run / 'arena.db'}", tmp_path / "log.jsonl", tmp_path / "sim.jsonl"
    assert call("votes", "export", run, log).exit_code == 0
    for added, known in ((30, 0), (0, 30)):  # the same votes again, with the ids of people's
        result = call("votes", "import", log, run, "--kind", "simulated", "--json")
        assert json.loads(result.stdout)["added"] == added
        assert json.loads(result.stdout)["known"] == known
    people, programs = accepted_votes(database), accepted_votes(database, simulated=True)
    assert ({vote.kind for vote in people}, len(people)) == ({"person"}, 30)
    assert ({vote.kind for vote in programs}, len(programs)) == ({"simulated"}, 30)
    assert not {vote.voter for vote in people} & {vote.voter for vote in programs}
    service = ArenaService(load_battle_pool(run), Store(database))
    assert len(service.votes().rows) == 30
    call("votes", "export", run, log)
    assert len(log.read_text().splitlines()) == 30
    assert call("votes", "export", run, other, "--kind", "simulated").exit_code == 0
    assert {json.loads(line)["judge"] for line in other.read_text().splitlines()} == {"simulated"}
    pairs = tmp_path / "pairs.jsonl"
    found = {
        voters: json.loads(
            call("preferences", "--from-votes", run, "--out", pairs, "--voters", voters, "--json").stdout
        )["votes"]
        for voters in ("people", "simulated")
    }
    assert found == {"people": 30, "simulated": 30}
    empty = tmp_path / "empty"
    empty.mkdir()
    call("votes", "import", log, empty, "--kind", "simulated")
    refused = call("preferences", "--from-votes", empty, "--out", pairs)
    assert (refused.exit_code, "no pairs in 0 votes" in refused.stderr) == (2, True)
