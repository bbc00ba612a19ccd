"""Import and export of votes as FastChat-style battle logs: `model_a`, `model_b`, `winner` per row.

Also read: our own vote logs (`outcome`), Kaggle's (`winner_model_a|b|tie`, `response_a`), `left`, `right` and
`winner`, Arena-Hard's, MT-bench's and AlpacaEval's judgments, FastChat's logs and Open WebUI's feedback.
A vote keeps its identity: its ballot's id where a row has one, else its content and how often that occurred;
an import adds what the file has more than the store, and a row of a known id corrects the imported vote.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from toolkit import io
from toolkit.arena.battles import Ballot, Cast, Kind, Reveal, side_fields
from toolkit.arena.schema import ID_LENGTH
from toolkit.arena.store import SIMULATED, VOTE_KINDS, Store, VoteRow
from toolkit.errors import DataError
from toolkit.judge.parsing import DEGREES
from toolkit.judge.readers import ANNOTATION, MT_BENCH_PAIR, judgment
from toolkit.judge.readers import rows as read_rows
from toolkit.types import OUTCOME_WORDS, WINNERS, Message, Outcome, digest

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

COLUMNS = ("model_a", "model_b", "winner")


def battle_row(reveal: Reveal, *, texts: bool = False) -> dict[str, Any]:
    """One vote as a row of a battle log; with `texts`, the two conversations are in it."""
    ballot, cast = reveal.ballot, reveal.cast
    assert cast.outcome is not None
    row: dict[str, Any] = {
        "question_id": ballot.example_id,
        "model_a": ballot.contestant_a,
        "model_b": ballot.contestant_b,
        "winner": WINNERS[cast.outcome],
        "judge": "arena_user" if ballot.kind != SIMULATED else SIMULATED,
        "voter": ballot.voter,
        "turn": sum(message.role == "user" for message in ballot.messages),
        "anony": True,
        "category": ballot.category,
        "tags": ", ".join(cast.tags),
        "comment": cast.comment,
        "tstamp": cast.cast_at,
        "ballot_id": ballot.id,
        "seconds": cast.seconds,
        "pair_probability": ballot.pair_probability,
        "probability": ballot.probability,
        "weight": 1.0 if ballot.weight is None else ballot.weight,
        "repeat": ballot.repeat,
    }
    if texts:
        prompt_messages = [message.as_dict() for message in ballot.messages]
        row["conversation_a"] = [*prompt_messages, {"role": "assistant", "content": ballot.answer_a}]
        row["conversation_b"] = [*prompt_messages, {"role": "assistant", "content": ballot.answer_b}]
    return row


def write_battle_log(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a battle log, whole or not at all, in the format its name ends with: .jsonl, .json or .csv."""
    if path.suffix == ".jsonl":
        io.write_rows(path, rows)
    elif path.suffix == ".json":
        io.write_json(path, list(rows))
    elif path.suffix == ".csv":
        text = StringIO()
        table = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else COLUMNS)
        table.writeheader()
        table.writerows({name: escape_formula(value) for name, value in row.items()} for row in rows)
        io.write_text(path, text.getvalue())
    else:
        raise DataError(f"{path}: cannot write {path.suffix or 'such'} files; use .jsonl, .json or .csv")


def escape_formula(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: texts that begin like one get an apostrophe before."""
    text = value if isinstance(value, str) else ""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def frame_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame of votes as plain values; missing values are `None`."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [dict(zip(frame.columns, row, strict=True)) for row in plain.itertuples(index=False, name=None)]


def load_vote_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(place, row) of every row of a vote file, of any of the forms above; `DataError`: it is none."""
    if not path.is_file():
        raise DataError(f"{path}: no such vote file")
    if path.suffix == ".csv":
        return [(f"{path}:{line}", dict(row)) for line, row in io.read_csv(path)]
    if path.suffix in {".json", ".jsonl"}:
        return list(read_rows(path))
    if path.suffix == ".parquet":
        import pandas as pd

        return [(f"{path}:{n}", row) for n, row in enumerate(frame_rows(pd.read_parquet(path)), 1)]
    raise DataError(f"{path}: cannot read {path.suffix or 'such'} files; use .jsonl, .json, .csv or .parquet")


def parse_votes(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Reveal]:
    """The votes of (place, row) as `load_vote_rows` gives them; `DataError` names a row that does not fit.

    Their ballots have the voters' own names, and no id or example where the file has none; conversations are
    optional. Rows without a vote (feedback without a comparison, an invalid verdict) are warned of.
    """
    parsed = [_votes_in(row, place) for place, row in rows]
    if empty := sum(not votes for votes in parsed):
        logger.warning("%d of %d rows hold no vote", empty, len(parsed))
    return [vote for votes in parsed for vote in votes]


class Imported(NamedTuple):
    """How many of a file's votes were added, were there already, or were there with another outcome."""

    added: int
    known: int
    corrected: int


def import_votes(
    store: Store, votes: Sequence[Reveal], *, run: str, simulated: bool = False, source: str = "votes"
) -> Imported:
    """Add votes to a run of a store, and correct imported ones of the same id, all or none.

    `simulated`: as votes of simulated voters, which are no people's, whatever ids they have.

    Raises:
        DataError: an id is of two battles or outcomes, or of a vote cast in this arena with another outcome.
    """
    kind: Kind = SIMULATED if simulated else "imported"
    known = _Known(store.vote_rows(run, everyone=True, kinds=(SIMULATED,) if simulated else VOTE_KINDS))
    there = {} if simulated else store.votes_on([vote.ballot.id for vote in votes if vote.ballot.id])
    occurrences, seen = known.counts(), dict[str, tuple[str, ...]]()
    lines: list[tuple[Ballot, Cast]] = []
    corrections: list[Cast] = []
    for vote in votes:
        ballot, cast, voter = vote.ballot, vote.cast, digest(kind, vote.ballot.voter)
        fields = (ballot.example_id, ballot.contestant_a, ballot.contestant_b, str(cast.outcome))
        identity = "" if simulated else ballot.id
        if identity and seen.setdefault(identity, fields) is not fields:
            if seen[identity] != fields:
                raise DataError(f"{source}: ballot_id {identity} is in two rows that are different votes")
            continue
        if row := there.get(identity):
            known.met.add(identity)
            if _corrects(row, fields, f"{source}: ballot_id {identity}"):
                corrections.append(cast.model_copy(update={"ballot": identity}))
            continue
        voters = (voter,) if simulated else (voter, ballot.voter)
        if known.take(voters, fields, cast.cast_at):
            continue
        changed = known.take((voter,), (*fields[:3], ANY), cast.cast_at) if identity else None
        if changed and changed.startswith(_PREFIX):  # first imported from a file without ids
            corrections.append(cast.model_copy(update={"ballot": changed}))
            continue
        key = digest(voter, *fields, f"{cast.cast_at:.3f}")
        occurrences[key] += 1
        identity = identity or _PREFIX + digest(run, key, str(occurrences[key]))
        example = ballot.example_id or f"{_NAMELESS}{identity}"
        update = {"id": identity, "kind": kind, "voter": voter, "run": run, "example_id": example}
        lines.append((ballot.model_copy(update=update), cast.model_copy(update={"ballot": identity})))
    added = store.load(lines, corrections)
    return Imported(added, len(votes) - added - len(corrections), len(corrections))


ANY = "*"
"""Stands for the example or outcome of a vote where voter, pair and the moment it was cast identify it."""


class _Known:
    """Stored votes by their content: each is met by one row of a file."""

    def __init__(self, rows: Iterable[VoteRow]) -> None:
        self.met: set[str] = set()
        """Ballots that a row was found for."""
        self._ballots: dict[str, list[str]] = {}
        for row in rows:
            example, *models = _battle(row)
            forms = {(example, str(row.outcome))}
            if row.cast_at:
                forms |= {(ANY, str(row.outcome)), (example, ANY)}
            for name, outcome in forms:
                key = digest(row.voter, name, *models, outcome, f"{row.cast_at:.3f}")
                self._ballots.setdefault(key, []).append(row.ballot)

    def counts(self) -> Counter[str]:
        return Counter({key: len(found) for key, found in self._ballots.items()})

    def take(self, voters: Iterable[str], fields: tuple[str, ...], at: float) -> str | None:
        """The ballot of a stored vote of these voters and `fields` that no row was found for yet."""
        example, *others = fields
        examples = (example, ANY if not example else "") if at else (example,)
        for key in (digest(who, name, *others, f"{at:.3f}") for name in examples for who in voters):
            left = self._ballots.get(key, [])
            while left and left[-1] in self.met:
                left.pop()
            if left:
                self.met.add(left[-1])
                return left[-1]
        return None


def _corrects(row: VoteRow, fields: tuple[str, ...], place: str) -> bool:
    """Whether a file's row has another outcome than the stored vote of its id."""
    example, *models = _battle(row)
    if models != [*fields[1:3]] or (example and fields[0] and example != fields[0]):
        raise DataError(f"{place} is another battle's here; leave the ids out")
    if row.outcome == fields[3]:
        return False
    if row.kind != "imported":
        raise DataError(
            f"{place} was cast in this arena with another outcome ({row.outcome}, not {fields[3]}); files "
            "correct imported votes alone: remove the row"
        )
    return True


def _battle(row: VoteRow) -> tuple[str, str, str]:
    return "" if row.example_id.startswith(_NAMELESS) else row.example_id, row.model_a, row.model_b


_PREFIX, _NAMELESS = "v-", "vote-"


def _votes_in(row: Mapping[str, Any], place: str) -> list[Reveal]:
    """The votes of one row: one, or two of a judge who read both orders; more of Open WebUI's siblings."""
    if isinstance(row.get("games"), list):
        return _arena_hard(row, place)
    if isinstance(row.get("data"), dict) and "rating" in row["data"]:
        return _open_webui(row, place)
    if row.keys() >= MT_BENCH_PAIR or row.keys() >= ANNOTATION:
        return [
            _vote(vote.model_dump(), place, vote.model_a, vote.model_b, vote.outcome)
            for vote in judgment(row, place)
        ]
    if isinstance(row.get("states"), list):
        return _fastchat(row, place)
    a, b = (row.get(f"model_{side}") for side in "ab")
    a, b = (a, b) if a or b else (row.get("left"), row.get("right"))
    return [_vote(row, place, a, b, _outcome(row, place))]


def _outcome(row: Mapping[str, Any], place: str) -> Outcome:
    kaggle = {"winner_model_a": "a", "winner_model_b": "b", "winner_tie": "tie"}
    if kaggle.keys() <= row.keys():
        chosen = [outcome for name, outcome in kaggle.items() if str(row[name]) in ("1", "1.0", "True")]
        if len(chosen) != 1:
            raise DataError(f"{place}: one of {', '.join(kaggle)} must be 1, the others 0")
        return OUTCOME_WORDS[chosen[0]]
    winner = row.get("winner", row.get("outcome"))
    if not isinstance(winner, str) or winner not in OUTCOME_WORDS:
        known = ", ".join(OUTCOME_WORDS)
        raise DataError(f"{place}: winner is {winner!r}; it must be one of {known}")
    return OUTCOME_WORDS[winner]


def _vote(row: Mapping[str, Any], place: str, a: Any, b: Any, outcome: Outcome) -> Reveal:
    if not (isinstance(a, str) and isinstance(b, str) and a and b and a != b):
        raise DataError(f"{place}: model_a and model_b must be two names, not {a!r} and {b!r}")
    at = _time(next(filter(None, map(row.get, ("tstamp", "cast_at", "created_at", "timestamp"))), None))
    if at is None:
        raise DataError(f"{place}: tstamp is {row.get('tstamp')!r}; it must be seconds since 1970, or ISO")
    weight = _weight(row.get("weight"))
    if weight is None:
        raise DataError(f"{place}: weight is {row.get('weight')!r}; it must be 0 or more")
    try:
        messages, answers = _conversations(row)
    except (KeyError, TypeError, IndexError, ValueError):
        raise DataError(f"{place}: a conversation is a list of turns with role and content") from None
    tags = tuple(filter(None, (tag.strip() for tag in str(row.get("tags") or "").split(","))))
    own_id = "" if row.get("ballot_id") is None else str(row["ballot_id"])
    ballot = Ballot(
        id=own_id if len(own_id) <= ID_LENGTH else _PREFIX + digest(own_id),
        voter=str(row.get("voter") or row.get("judge") or ""),
        number=0,
        kind="imported",
        run="",
        example_id=str(row.get("question_id") or row.get("example_id") or row.get("uid") or ""),
        category=str(row.get("category") or "") or None,
        messages=messages,
        **side_fields((a, answers[0]), (b, answers[1])),
        shown_at=at,
        weight=weight,
    )
    reasons = {"tags": tags, "comment": str(row.get("comment") or ""), "cast_at": at}
    return Reveal(ballot=ballot, cast=Cast(ballot="", revision=0, action="vote", outcome=outcome, **reasons))


def _arena_hard(row: Mapping[str, Any], place: str) -> list[Reveal]:
    """A judge's games of a model against the baseline; in the second game the model is shown first."""
    model, baseline = row.get("model"), row.get("baseline") or "baseline"
    votes = []
    for sides, game in zip(cycle([(baseline, model), (model, baseline)]), row["games"], strict=False):
        score = game.get("score") if isinstance(game, dict) else None
        if score is None:  # an unreadable reply is no vote
            continue
        if score not in DEGREES:
            known = ", ".join(DEGREES)
            raise DataError(f"{place}: the score of a game is {score!r}; it must be one of {known}")
        votes.append(_vote(row, place, *sides, DEGREES[score]))
    return votes


def _open_webui(row: Mapping[str, Any], place: str) -> list[Reveal]:
    """A thumb on one of several models' answers: it beats, or loses to, each of the others."""
    data = row["data"]
    if str(data["rating"]) not in ("1", "-1"):
        raise DataError(f"{place}: the rating is {data['rating']!r}; it must be 1 or -1")
    outcome: Outcome = "a" if str(data["rating"]) == "1" else "b"
    meta = row.get("meta") or {}
    fields = {
        "question_id": meta.get("message_id") or meta.get("chat_id"),
        "voter": row.get("user_id"),
        "tstamp": row.get("created_at"),
        "tags": ", ".join(data.get("tags") or ()),
        "comment": data.get("comment") or data.get("reason"),
    }
    votes = []
    for other in data.get("sibling_model_ids") or ():  # a thumb that is turned later is the same vote
        ballot = {"ballot_id": _PREFIX + digest(str(row["id"]), str(other))} if row.get("id") else {}
        votes.append(_vote(fields | ballot, place, data.get("model_id"), other, outcome))
    return votes


FASTCHAT: dict[str, Outcome] = {
    "leftvote": "a",
    "rightvote": "b",
    "tievote": "tie",
    "bothbad_vote": "both_bad",
}


def _fastchat(row: Mapping[str, Any], place: str) -> list[Reveal]:
    """A line of a FastChat server's log: a vote on two conversations, or something else, which is none."""
    if row.get("type") not in FASTCHAT:
        return []
    states = [each if isinstance(each, dict) else {} for each in row["states"]]
    names = [
        each.get("model_name") or name for each, name in zip(states, row.get("models", "  "), strict=False)
    ]
    if len(names) != 2:  # noqa: PLR2004
        raise DataError(f"{place}: a vote is on two conversations, not on {len(names)}")
    fields = {"question_id": states[0].get("conv_id"), "voter": row.get("ip"), "tstamp": row.get("tstamp")}
    return [_vote(fields, place, names[0], names[1], FASTCHAT[row["type"]])]


FORMS = (
    *(MT_BENCH_PAIR, ANNOTATION, {"games"}),
    *({"data", "meta"}, {"winner_model_a"}, {"left", "right"}, {"type", "states"}),
)
"""Fields by which forms that are no battle logs are recognised."""


def _time(value: Any) -> float | None:
    """Seconds since 1970, 0 where there is none; `None`: it is no time."""
    try:
        at = float(value or 0.0)
    except (TypeError, ValueError):
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            return None
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return at if math.isfinite(at) else None


def _weight(value: Any) -> float | None:
    """1 where there is none; `None`: it is no weight."""
    try:
        weight = 1.0 if value in (None, "") else float(value)
    except (TypeError, ValueError):
        return None
    return weight if 0 <= weight < math.inf else None


def _conversations(row: Mapping[str, Any]) -> tuple[tuple[Message, ...], tuple[str, str]]:
    """The prompt and both answers, where the log has them; else none, and two empty texts."""
    if "response_a" in row and "response_b" in row:  # Kaggle's: lists of turns, as JSON in text
        prompts, a, b = (_turns(row.get(name)) for name in ("prompt", "response_a", "response_b"))
        messages = tuple(Message(role="user", content=prompt) for prompt in prompts)
        return messages, ("\n\n".join(a), "\n\n".join(b))
    one, other = row.get("conversation_a"), row.get("conversation_b")
    if one is None or other is None or len(one) == 0 or len(other) == 0:
        return (), ("", "")
    turns = json.loads(one) if isinstance(one, str) else list(one)
    last = (json.loads(other) if isinstance(other, str) else list(other))[-1]
    prompt = tuple(Message(role=turn["role"], content=_text(turn["content"])) for turn in turns[:-1])
    return prompt, (_text(turns[-1]["content"]), _text(last["content"]))


def _turns(value: Any) -> list[str]:
    listed = json.loads(value) if isinstance(value, str) and value.startswith("[") else value
    return [str(turn or "") for turn in (listed if isinstance(listed, list) else [listed])]


def _text(content: Any) -> str:
    """A turn's text; of content parts (LMArena's newer logs) those that are text."""
    if isinstance(content, str) or not isinstance(content, Iterable):
        return str(content)
    return "\n\n".join(str(part["text"]) for part in content if part.get("type", "text") == "text")
