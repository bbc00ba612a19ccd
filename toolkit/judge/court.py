"""Judging from answers to figures: one judge or a jury, everything it says kept in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import records
from toolkit.judge.answers import Answers
from toolkit.judge.asking import Method
from toolkit.judge.costs import Estimate, estimate
from toolkit.judge.counting import jury, votes
from toolkit.judge.judging import judge_battles, recorded
from toolkit.judge.judgments import battle_log, mt_bench_judgments
from toolkit.judge.opening import open_judge, prompt_key, prompt_of
from toolkit.judge.pairing import battles
from toolkit.judge.statistics import disagreement, statistics
from toolkit.judge.winrates import preferences, win_rates
from toolkit.recipe import Judge
from toolkit.types import Battle, Verdict, Vote

if TYPE_CHECKING:
    from toolkit.models import Loaded


@dataclass(frozen=True)
class Judged:
    """What came of it. With several judges `votes` are the jury's, and `disagreement` is between them."""

    battles: list[Battle]
    verdicts: list[Verdict]
    votes: list[Vote]
    statistics: dict[str, dict[str, Any]]
    win_rates: list[dict[str, Any]]
    disagreement: dict[str, Any] | None


def hold(
    judges: Sequence[Judge],
    answers: Answers,
    load: Callable[[str], Loaded],
    *,
    out: Path,
    base: str | None = None,
    seed: int = 0,
) -> Judged:
    """Put the battles that the first judge's section asks for to every judge, and count their votes.

    Args:
        judges: one, or a jury.
        answers: what contestants said.
        load: gives a local model by its name.
        out: folder for `verdicts.jsonl` (appended to), `votes.jsonl`, `battle_log.jsonl` (for FastChat and
            arena-rank), `mt_bench_judgments.jsonl` and `judge.json`.
        base: the model that judges where a section names none.
        seed: of the choice of examples.

    Raises:
        ToolkitError: as the parts do; what was judged before is kept, and the same call continues.
    """
    fought = battles(answers.completions, judges[0], seed, categories=answers.categories)
    rule, log = judges[0].rule, out / "verdicts.jsonl"
    verdicts: list[Verdict] = []
    for section in judges:
        verdicts += judge_battles(open_judge(section, load, base=base), fought, out=log)
    cast = votes(fought, verdicts, rule=rule)
    several = len(judges) > 1
    found = Judged(
        battles=fought,
        verdicts=verdicts,
        votes=jury(cast) if several else cast,
        statistics=statistics(fought, verdicts, rule=rule),
        win_rates=win_rates(preferences(fought, jury(cast) if several else cast)),
        disagreement=disagreement(cast) if several else None,
    )
    _write(found, out)
    return found


def costs(
    judges: Sequence[Judge], answers: Answers, *, out: Path, base: str | None = None, seed: int = 0
) -> list[Estimate]:
    """What `hold` would ask of each judge. Loads no model and asks nothing of the network."""
    fought = battles(answers.completions, judges[0], seed, categories=answers.categories)
    said = recorded(out / "verdicts.jsonl")
    found = []
    for section in judges:
        name = section.endpoint.model if section.endpoint else Path(section.model or base or "").name
        mine = [verdict for verdict in said.values() if verdict.judge.partition("@")[0] == name]
        known = {
            (verdict.battle_id, verdict.order) for verdict in mine if verdict.prompt == prompt_key(section)
        }
        method: Method = "letter" if section.method == "logits" else "written"
        found.append(estimate(fought, prompt_of(section), method, known=known))
    return found


def _write(found: Judged, out: Path) -> None:
    records.write(out / "votes.jsonl", found.votes)
    _write_rows(out / "battle_log.jsonl", battle_log(found.battles, found.votes))
    _write_rows(out / "mt_bench_judgments.jsonl", mt_bench_judgments(found.battles, found.verdicts))
    figures = {"statistics": found.statistics, "win_rates": found.win_rates}
    if found.disagreement is not None:
        figures["disagreement"] = found.disagreement
    records.write_json(out / "judge.json", figures)


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    records.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
