"""Judgments of other tools: MT-bench's pair judgments, AlpacaEval's annotations, battle logs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit import io
from toolkit.errors import DataError
from toolkit.judge.aggregation import Preference, pair_orders
from toolkit.types import WINNERS, Battle, Outcome, Verdict, Vote, digest, question_and_turn, turn_id


def rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of every row of a JSONL file, or of a JSON list or object; `DataError`: it is none."""
    if file.suffix == ".json":
        listed = io.read_json(file)
        listed = listed if isinstance(listed, list) else [listed]
        places: Iterable[tuple[str, Any]] = ((f"{file}:{n}", row) for n, row in enumerate(listed, 1))
    else:
        places = io.read_rows(file, ours=False)
    for place, row in places:
        if not isinstance(row, dict):
            raise DataError(f"{place}: a row is an object")
        yield place, row


MT_BENCH: dict[Outcome | None, str] = {"a": "model_1", "b": "model_2", "tie": "tie", None: "error"}
"""Outcome -> the winner in MT-bench's judgment files."""


def battle_log(votes: Iterable[Vote]) -> list[dict[str, Any]]:
    """Votes as rows of a battle log, which FastChat's rating scripts and arena-rank read."""
    log = []
    for place, vote in enumerate(votes):
        question, turn = question_and_turn(vote.example_id)
        log.append(
            {
                "question_id": question,
                "model_a": vote.model_a,
                "model_b": vote.model_b,
                "winner": WINNERS[vote.outcome],
                "judge": vote.voter,
                "turn": turn,
                "anony": True,
                "language": "",
                "category": vote.category or "",
                "tstamp": float(place),
            }
            | ({} if vote.probability_a is None else {"probability_a": vote.probability_a})  # rated by it
        )
    return log


def mt_bench_judgments(battles: Sequence[Battle], verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as rows of MT-bench's `*_pair.jsonl`: one a battle and judge, both orders in it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for (battle_id, judge, prompt), (ab, ba) in pair_orders(verdicts).items():
        row = {
            "g1_winner": MT_BENCH[ab.outcome],
            "g2_winner": MT_BENCH[ba.outcome],
            "judge": [judge, prompt],
            "g1_judgment": ab.reason,
            "g2_judgment": ba.reason,
        }
        found.setdefault(battle_id, []).append(row)
    judgments = []
    for battle in battles:
        question, turn = question_and_turn(battle.example_id)
        who = {"question_id": question, "model_1": battle.model_a, "model_2": battle.model_b}
        judgments += [{**who, **row, "turn": turn} for row in found.get(battle.id, ())]
    return judgments


MT_BENCH_PAIR = {"model_1", "model_2", "g1_winner", "g2_winner"}
ANNOTATION = {"generator_1", "generator_2", "preference"}
"""Fields that tell MT-bench's pair judgments and AlpacaEval's annotations."""


def has_fields(file: Path, *forms: set[str]) -> bool:
    """Whether the first row of a file of rows has the fields of one of these forms."""
    if file.suffix not in {".json", ".jsonl"} or not file.is_file():
        return False
    _, first = next(rows(file), ("", {}))
    return any(fields <= first.keys() for fields in forms)


def judgment(row: Mapping[str, Any], place: str) -> list[Vote]:
    """The vote of a row of MT-bench's pair judgments or AlpacaEval's annotations, or none.

    MT-bench: two games that agree make a vote, two that do not a tie, an `error` none. AlpacaEval: the
    preference, from 1 (`generator_1`) to 2 (`generator_2`), decides; 1.5 and 0 are a tie, `null` no vote.
    """
    return _mt_bench_vote(row, place) if row.keys() >= MT_BENCH_PAIR else _alpaca_eval_vote(row, place)


def read_preferences(file: Path) -> list[Preference]:
    """AlpacaEval's annotations as preferences for `generator_2` over `generator_1`, the baseline."""
    found = []
    for place, row in rows(file):
        if not {*ANNOTATION, "output_1", "output_2"} <= row.keys():
            raise DataError(f"{place}: no annotation of AlpacaEval with both outputs")
        preference = _preference(row, place)
        if preference is not None:
            found.append(
                Preference(
                    contestant=row["generator_2"],
                    against=row["generator_1"],
                    value=preference - 1,
                    length=len(row["output_2"]),
                    length_against=len(row["output_1"]),
                )
            )
    return found


def _mt_bench_vote(row: Mapping[str, Any], place: str) -> list[Vote]:
    meaning = {text: outcome for outcome, text in MT_BENCH.items()}
    games = [row["g1_winner"], row["g2_winner"]]
    if not set(games) <= meaning.keys():
        raise DataError(f"{place}: winners must be one of {', '.join(meaning)}")
    first, second = (meaning[game] for game in games)
    if first is None or second is None:
        return []
    judge, example = row["judge"], turn_id(str(row["question_id"]), int(row.get("turn") or 1))
    voter = str(judge[0] if isinstance(judge, list) else judge)
    outcome: Outcome = first if first == second else "tie"
    return [_vote(example, example, (row["model_1"], row["model_2"]), outcome, voter=voter)]


def _preference(row: Mapping[str, Any], place: str) -> float | None:
    """AlpacaEval's preference from 1 to 2, 1.5 for a tie; `None`: no verdict."""
    value = row["preference"]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value == 0 or 1 <= value <= 2):  # noqa: PLR2004
        raise DataError(f"{place}: preference is {value!r}; it is from 1 to 2, 0 for a tie, or null")
    return float(value) or 1.5


def _alpaca_eval_vote(row: Mapping[str, Any], place: str) -> list[Vote]:
    preference = _preference(row, place)
    if preference is None:
        return []
    outcome: Outcome = "tie" if preference == 1.5 else "a" if preference < 1.5 else "b"  # noqa: PLR2004
    question, sides = row["instruction"], (row["generator_1"], row["generator_2"])
    who = {"voter": str(row.get("annotator", "")), "category": row.get("dataset")}
    return [_vote(digest(question), question, sides, outcome, **who)]


def _vote(example: str, question: str, sides: tuple[str, str], outcome: Outcome, **fields: Any) -> Vote:
    return Vote(
        battle_id=digest(question, *sides),
        example_id=example,
        model_a=sides[0],
        model_b=sides[1],
        outcome=outcome,
        kind="judge",
        **fields,
    )
