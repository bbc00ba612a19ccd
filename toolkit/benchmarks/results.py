"""lm-eval's result files -> scores, and its sample logs -> values per question."""

import logging
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import io
from toolkit.errors import DataError
from toolkit.metric_info import less_is_better
from toolkit.metrics.intervals import difference
from toolkit.metrics.measurement import Measurement
from toolkit.statistics import NORMAL, Z, decide, holm, wilson
from toolkit.types import Difference, Score

logger = logging.getLogger(__name__)

HUB_ID = re.compile(r"(?![.~/])[^/\\]+(/[^/\\]+)?")  # a name, or an owner's
LARGEST = 1e12  # no benchmark's figure is beyond it

PROPORTIONS = {"acc", "acc_norm", "acc_bytes", "exact_match", "pass@1"}
"""Metrics that are right or wrong on every question."""


def scores_of(file: Path, contestant: str) -> list[Score]:
    """Every figure of an lm-eval result file with its 95% interval: tasks, and the groups they make up.

    Proportions have Wilson's interval, other figures one from lm-eval's standard error. Metrics are named
    `<task>/<metric>`, with lm-eval's filter where it is not `none`.

    Raises:
        DataError: the file is missing or is no lm-eval result.
    """
    result = _read_result(file)
    counts = _counts(result)
    members = io.mapping(result, "group_subtasks")
    found: list[Score] = []
    for task, figures in result["results"].items():
        if isinstance(figures, dict) and task != "all":
            name = _task_name(task)
            found += _scores(contestant, name, figures, _questions(name, counts, members))
    if not found:
        raise DataError(f"{file}: no figure in its `results`: not a result of lm-eval or lighteval")
    return found


def _read_result(file: Path) -> dict[str, Any]:
    result = io.read_json(file, finite=False)
    if not isinstance(result, dict) or not isinstance(result.get("results"), dict):
        raise DataError(f"{file}: no lm-eval result: it has no `results`")
    return result


def _counts(result: Any) -> dict[str, int]:
    """Task -> how many questions were asked."""
    return {
        _task_name(task): _count(n.get(field) if isinstance(n, dict) else n)
        for key, field in (("n-samples", "effective"), ("config_tasks", "effective_num_docs"))
        for task, n in io.mapping(result, key).items()
    }


def _task_name(task: str) -> str:
    """The task in lighteval's names: `suite|task|shots|...`, `suite|task`, or `task|shots`."""
    first, *rest = task.split("|")
    return first if not rest or rest[0].isdecimal() else rest[0]


def _count(value: Any) -> int:
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


def name_in(file: Path) -> str:
    """Whose results an lm-eval result file holds: the name or hub id in it, or else the file's name."""
    result = io.read_json(file, finite=False)
    config = io.mapping(result, "config_general") or io.mapping(result, "config")
    arguments = config.get("model_args")
    if isinstance(arguments, str):  # of older lm-eval
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    named = [io.mapping({"": result}, "").get("model_name"), config.get("model_name")]
    named += [io.mapping(config, "model_config").get("model_name")]
    if isinstance(arguments, dict):
        named += [arguments.get("peft"), arguments.get("pretrained") or arguments.get("model")]
    name = next((each for each in named if each), None)
    return name if isinstance(name, str) and HUB_ID.fullmatch(name) else file.stem


def check_addable(out: Path, contestant: str, weights: str, task: str, limit: int | None) -> None:
    """Raise a `DataError` where `out` holds another model's results, or more questions than the limit."""
    if not out.exists():
        return
    result = _read_result(out)
    config, counts = io.mapping(result, "config"), _counts(result)
    if name_in(out) != contestant or config.get("weights", weights) != weights:
        other = f"the results of {name_in(out)}, with other weights, model options or of another name"
        raise DataError(f"{out}: holds {other}; choose another --out")
    parts = io.mapping(result, "group_subtasks").get(task) or [task]
    count = max(counts.get(part, 0) for part in parts)
    if limit is not None and count > limit:
        held = f"{out}: holds {task} on {count} questions"
        raise DataError(f"{held}, and --limit {limit} would replace them; choose another --out")


def add_results(out: Path, new: Path, weights: str, contestant: str) -> bool:
    """Put the tasks of result file `new` into `out`, sample logs beside it; whether it replaced figures."""
    merged = io.read_json(out, finite=False) if out.exists() else {}
    added = io.read_json(new, finite=False)
    replaced = not merged.get("results", {}).keys().isdisjoint(added["results"])
    before, after = _counts(merged), _counts(added)
    for task in before.keys() & after.keys():
        if after[task] < before[task]:
            held = f"{out}: holds {task} on {before[task]} questions"
            raise DataError(f"{held}, and {after[task]} would replace them; choose another --out")
    merge_results(merged, added)
    merged["config"]["weights"], merged["model_name"] = weights, contestant
    out.with_suffix("").mkdir(parents=True, exist_ok=True)
    for log in sorted(new.with_suffix("").glob("samples_*.jsonl")):
        shutil.copyfile(log, out.with_suffix("") / log.name)
    io.write_json(out, merged)
    return replaced


def merge_results(merged: dict[str, Any], added: dict[str, Any]) -> None:
    """Add the tasks of one lm-eval result to another one, in place."""
    for key, value in added.items():
        whole = merged.get(key)
        merged[key] = whole | value if isinstance(whole, dict) and isinstance(value, dict) else value


def values_of(folder: Path) -> dict[str, dict[str, float]]:
    """Metric -> hash of the question -> value, from sample logs that fit the figures in the result file."""
    found: dict[str, dict[str, float]] = {}
    for file in sorted(folder.glob("samples_*.jsonl")):
        task = file.stem.removeprefix("samples_")
        for _, sample in io.read_rows(file):
            kind = sample.get("filter", "none")
            for metric in sample.get("metrics", ()):
                if isinstance(sample.get(metric), (int, float)):
                    values = found.setdefault(_name(task, metric, kind), {})
                    values[f"{sample['doc_id']}-{sample['doc_hash'][:8]}"] = float(sample[metric])
    result = folder.with_name(f"{folder.name}.json")
    for score in scores_of(result, "") if found and result.exists() else ():
        values = found.get(score.metric, {})
        mean = math.fsum(values.values()) / max(1, len(values))
        is_mean = score.metric.rpartition("/")[2].partition(",")[0] in PROPORTIONS
        other_mean = values and is_mean and abs(mean - score.value) > 0.5 / len(values)
        if len(values) not in (0, score.n) or other_mean:
            text = "%s: the %d answers logged there do not give the figure of %s; no comparison by question"
            logger.warning(text, folder, len(values), score.metric)
            del found[score.metric]
    return found


def questions_of(folder: Path) -> dict[str, list[str]]:
    """Task -> its questions, from the sample logs in a folder: the longest text of each question's row."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(folder.glob("samples_*.jsonl")):
        task = found.setdefault(file.stem.removeprefix("samples_"), {})
        for _, sample in io.read_rows(file):
            texts = [text for text in sample["doc"].values() if isinstance(text, str)]
            task[str(sample["doc_id"])] = max(texts, key=len, default="")
    return {task: list(texts.values()) for task, texts in found.items()}


def _questions(task: str, counts: dict[str, int], members: dict[str, list[str]]) -> int:
    """The number of questions, of a group in all its tasks."""
    inside = members.get(task)
    if counts.get(task) or not isinstance(inside, list):
        return counts.get(task, 0)
    others = {name: some for name, some in members.items() if name != task}  # a group is in none of its own
    return sum(_questions(str(each), counts, others) for each in inside)


def _scores(contestant: str, task: str, figures: dict[str, Any], n: int) -> Iterator[Score]:
    filtered = any("," in key for key in figures)
    for key, value in figures.items():
        metric, _, kind = key.partition(",")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or metric.endswith("_stderr"):
            continue
        if abs(value) > LARGEST or (filtered and not kind):  # without a filter: how many samples there were
            continue
        error = figures.get(f"{metric}_stderr,{kind}" if kind else f"{metric}_stderr")
        low, high = interval(metric, float(value), error, n)
        name = _name(task, metric, kind or "none")
        yield Score(contestant=contestant, metric=name, value=value, low=low, high=high, n=n)


def interval(metric: str, value: float, error: object, n: int) -> tuple[float | None, float | None]:
    """95% interval of a figure over `n` questions with a standard error, if it has one.

    An error of 0 (all questions alike) is no certainty: it gives an interval for proportions only.
    """
    if not isinstance(error, (int, float)) or not math.isfinite(error):
        return None, None
    if metric in PROPORTIONS and 0 <= value <= 1 and n:
        return wilson(value * n, n)
    return (value - Z * error, value + Z * error) if error > 0 else (None, None)


def _name(task: str, metric: str, kind: str) -> str:
    return f"{task}/{metric}" if kind == "none" else f"{task}/{metric},{kind}"


CHANCE = {
    "hellaswag": 0.25, "mmlu": 0.25, "truthfulqa_mc1": 0.2303, "cola": 0.0, "mrpc": 0.5,
    "rte": 0.5, "sst2": 0.5, "gsm8k": 0.0, "humaneval": 0.0, "arc_easy": 0.25,
    "arc_challenge": 0.25, "winogrande": 0.5, "piqa": 0.5, "boolq": 0.5, "tickets_choice": 0.2,
}  # fmt: skip
"""Task -> what guessing gets. TruthfulQA's questions have from 2 to 13 answers to choose from; mc2 has no
chance level, since it is a share of probability."""

HEADLINES = ("acc_norm", "exact_match,strict-match", "pass@1,create_test", "mcc", "acc")
"""Which of a task's metrics stands for it: the first of these it has, as on the Open LLM Leaderboard."""


@dataclass(frozen=True)
class Cell:
    """One contestant on one benchmark."""

    score: Score
    within_noise: bool
    """Whether it is not decided that the best one is better, by the rule of all differences (`decide`)."""
    share: bool
    """Whether the task's figures are shares, up to 1, of which more is better: only those can be averaged."""


@dataclass(frozen=True)
class Row:
    contestant: str
    cells: tuple[Cell | None, ...]  # in the order of the leaderboard's tasks
    average: float | None
    """Of the shares that all contestants have, as the Open LLM Leaderboard averaged them."""
    above_chance: float | None  # the same with 0 for guessing and 1 for all right; below guessing counts as 0


@dataclass(frozen=True)
class Leaderboard:
    tasks: tuple[str, ...]  # metric names, `<task>/<metric>`
    rows: tuple[Row, ...]  # best average first


def leaderboard(
    scores: Sequence[Score], measured: Sequence[Measurement] = (), primary: Sequence[Score] = ()
) -> Leaderboard:
    """The table of benchmark scores: one column a task, MMLU's subjects in one.

    Of the best one, differences are paired where `measured` has both values by question. `primary`, the run's
    own measure, is the first column and in no average.
    """
    by_task = _headlines(scores)
    own = {score.metric: {each.contestant: each for each in primary} for score in primary}
    values = {(each.contestant, each.metric): each for each in measured}
    names = list(dict.fromkeys(score.contestant for score in (*primary, *scores)))
    shared = [task for task, row in by_task.items() if len(row) == len(names) and _are_shares(task, row)]
    by_task = own | by_task
    rows = [
        Row(
            contestant=name,
            cells=tuple(_cell(task, row, name, values) for task, row in by_task.items()),
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
    """Contestants that gain on one metric while they lose on most others (Goodhart): one sentence each."""
    notes = []
    pairs = dict.fromkeys((each.contestant, each.against) for each in found)
    for contestant, against in pairs:
        paired = [each for each in found if (each.contestant, each.against) == (contestant, against)]
        sure = [each for each in paired if each.p_value < level]
        sure = [each for each in sure if not each.metric.startswith(("length", "distinct"))]
        gains = [each.metric for each in sure if (each.value < 0) == less_is_better(each.metric)]
        losses = [each.metric for each in sure if (each.value < 0) != less_is_better(each.metric)]
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
    headlines = {}
    for task, by_metric in found.items():
        metric = next((metric for metric in HEADLINES if metric in by_metric), next(iter(by_metric)))
        headlines[f"{task}/{metric}"] = by_metric[metric]
    return headlines


def _are_shares(task: str, row: Mapping[str, Score]) -> bool:
    return not less_is_better(task) and all(abs(score.value) <= 1 for score in row.values())


def _cell(
    task: str, row: Mapping[str, Score], name: str, values: Mapping[tuple[str, str], Measurement]
) -> Cell | None:
    if name not in row:
        return None
    declared = (measured.lower_is_better for (_, metric), measured in values.items() if metric == task)
    less = less_is_better(task) or any(declared)
    best = (min if less else max)(row.values(), key=lambda each: each.value).contestant
    behind = {other: _behind(row[best], row[other], task, values) for other in row if other != best}
    corrected = dict(zip(behind, holm([p_value for _, _, p_value in behind.values()]), strict=True))
    low, high, _ = behind.get(name, (0.0, 0.0, 1.0))
    clear = name != best and decide(low, high, corrected[name], -1 if less else 1) == "better"
    return Cell(row[name], not clear, not less and _are_shares(task, row))


def _behind(
    best: Score, other: Score, task: str, values: Mapping[tuple[str, str], Measurement]
) -> tuple[float, float, float]:
    """Interval and p-value of the best one's lead: on the same questions, else of two independent figures."""
    both = [values.get((score.contestant, task)) for score in (best, other)]
    paired = difference(both[0], both[1]) if both[0] and both[1] else None
    if paired is not None:
        return paired.low, paired.high, paired.p_value
    if None in (best.low, best.high, other.low, other.high):
        return -math.inf, math.inf, 1.0
    gap = best.value - other.value
    half = math.hypot(*(((each.high or 0) - (each.low or 0)) / 2 for each in (best, other)))
    p_value = 2 * NORMAL.cdf(-abs(gap) * Z / half) if half else float(gap == 0)
    return gap - half, gap + half, p_value


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
