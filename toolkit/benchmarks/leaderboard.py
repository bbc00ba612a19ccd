"""All contestants x all benchmarks in one table, with averages, chance taken off, and what to be wary of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolkit.metric_info import less_is_better
from toolkit.types import Difference, Score

CHANCE = {
    "hellaswag": 0.25,
    "mmlu": 0.25,
    "truthfulqa_mc1": 0.2303,
    "cola": 0.0,
    "mrpc": 0.5,
    "rte": 0.5,
    "sst2": 0.5,
    "gsm8k": 0.0,
    "humaneval": 0.0,
    "arc_easy": 0.25,
    "arc_challenge": 0.25,
    "winogrande": 0.5,
    "piqa": 0.5,
    "boolq": 0.5,
    "tickets_choice": 0.2,
}
"""Task -> what guessing gets. TruthfulQA's questions have from 2 to 13 answers to choose from; mc2 has no
chance level, since it is a share of probability."""

HEADLINES = ("acc_norm", "exact_match,strict-match", "pass@1,create_test", "mcc", "acc")
"""Which of a task's metrics stands for it: the first of these it has, as on the Open LLM Leaderboard."""


@dataclass(frozen=True)
class Cell:
    """One contestant on one benchmark."""

    score: Score
    within_noise: bool
    """Whether the best one's interval reaches this one's value: it may be as good."""
    share: bool
    """Whether the task's figures are shares, up to 1, of which more is better: only those can be averaged."""


@dataclass(frozen=True)
class Row:
    contestant: str
    cells: tuple[Cell | None, ...]
    """In the order of the leaderboard's tasks."""
    average: float | None
    """Of the shares that all contestants have, as the Open LLM Leaderboard averaged them."""
    above_chance: float | None
    """The same with 0 for guessing and 1 for all right; below guessing counts as 0."""


@dataclass(frozen=True)
class Leaderboard:
    tasks: tuple[str, ...]
    """Metric names, `<task>/<metric>`."""
    rows: tuple[Row, ...]
    """Best average first."""


def leaderboard(scores: Sequence[Score]) -> Leaderboard:
    """The table of benchmark scores: one column a task, MMLU's subjects in one."""
    by_task = _headlines(scores)
    names = list(dict.fromkeys(score.contestant for score in scores))
    shared = [task for task, row in by_task.items() if len(row) == len(names) and _are_shares(task, row)]
    rows = [
        Row(
            contestant=name,
            cells=tuple(_cell(task, row, name) for task, row in by_task.items()),
            average=_mean([by_task[task][name].value for task in shared]),
            above_chance=_mean([above_chance(task, by_task[task][name].value) for task in shared]),
        )
        for name in names
    ]
    rows.sort(key=lambda row: -math.inf if row.average is None else row.average, reverse=True)
    return Leaderboard(tuple(by_task), tuple(rows))


def above_chance(task: str, value: float) -> float:
    """A score with 0 for guessing and 1 for all right (the second Open LLM Leaderboard's normalisation)."""
    chance = CHANCE.get(task.partition("/")[0], CHANCE["mmlu"] if task.startswith("mmlu") else 0.0)
    return max(0.0, (value - chance) / (1 - chance))


def goodhart(found: Sequence[Difference], level: float = 0.05) -> list[str]:
    """Contestants that gain on one metric while they lose on most others: one sentence each.

    When a measure becomes a target, it ceases to be a good measure (Goodhart; Strathern 1997). Metrics of
    which less is better (perplexity, TER) are turned around; lengths say nothing here.
    """
    notes = []
    pairs = dict.fromkeys((each.contestant, each.against) for each in found)
    for contestant, against in pairs:
        changes = [each for each in found if (each.contestant, each.against) == (contestant, against)]
        sure = [each for each in changes if each.p_value < level and not _is_form(each.metric)]
        gains = [each.metric for each in sure if _better(each)]
        losses = [each.metric for each in sure if not _better(each)]
        if gains and len(losses) > len(gains):
            notes.append(
                f"{contestant} gains on {', '.join(gains)} and loses on {', '.join(losses)} against "
                f"{against}: it may be tuned to the measure rather than to the task"
            )
    return notes


def _headlines(scores: Sequence[Score]) -> dict[str, dict[str, Score]]:
    """Metric that stands for each task -> contestant -> score."""
    found: dict[str, dict[str, dict[str, Score]]] = {}
    for score in scores:
        task, _, metric = score.metric.partition("/")
        if metric:
            found.setdefault(task, {}).setdefault(metric, {})[score.contestant] = score
    if "mmlu" in found:
        found = {task: row for task, row in found.items() if not task.startswith("mmlu_")}
    chosen = {task: _headline(by_metric) for task, by_metric in found.items()}
    return {f"{task}/{metric}": found[task][metric] for task, metric in chosen.items()}


def _headline(by_metric: Mapping[str, object]) -> str:
    return next((metric for metric in HEADLINES if metric in by_metric), next(iter(by_metric)))


def _are_shares(task: str, row: Mapping[str, Score]) -> bool:
    return not less_is_better(task) and all(abs(score.value) <= 1 for score in row.values())


def _cell(task: str, row: Mapping[str, Score], name: str) -> Cell | None:
    score = row.get(name)
    if score is None:
        return None
    if less_is_better(task):
        best = min(row.values(), key=lambda each: each.value)
        reached = best.high is None or score.value <= best.high
    else:
        best = max(row.values(), key=lambda each: each.value)
        reached = best.low is None or score.value >= best.low
    return Cell(score, reached, _are_shares(task, row))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _better(change: Difference) -> bool:
    return (change.value < 0) == less_is_better(change.metric)


def _is_form(metric: str) -> bool:
    return metric.startswith(("length", "distinct"))
