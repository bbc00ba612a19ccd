"""Whether a contestant may replace another: requirements on a run, each passed, undecided or failed.

A requirement is decided by the two-sided 95% interval of the paired difference, so that a bad contestant
passes one in at most 2.5% of runs, and all of several together no more often (Berger 1982). What the report
calls unclear is not called better or worse here. `better than` asks for superiority, `not worse than ... by`
for non-inferiority with a margin.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from toolkit.errors import DataError, InputError
from toolkit.fingerprints import changed_outputs
from toolkit.metric_info import metric_info
from toolkit.metrics import Measurement, difference
from toolkit.metrics.intervals import clustered
from toolkit.metrics.measurement import measurement_from_values
from toolkit.report.formatting import signed
from toolkit.report.headline import correct_p_values
from toolkit.report.load import RunView, load_run
from toolkit.statistics import LEVEL, NORMAL, Z, decide
from toolkit.types import Difference, Record

Verdict = Literal["passed", "undecided", "failed"]

FORM = re.compile(
    r"\s*(?P<metric>[^:]+?)\s*:\s*(?:better\s+than\s+(?P<better>\S+)|not\s+worse\s+than\s+(?P<worse>\S+))"
    r"(?:\s+by\s+(?P<margin>\d+(?:\.\d+)?|\.\d+))?\s*"
)
GUARD = "guard_bits_per_byte"
"""The metric of a recipe's guard set."""
MAX_EXAMPLES = 10**7


@dataclass(frozen=True)
class Requirement:
    """What must hold of a contestant."""

    text: str
    metric: str
    """A metric's name, `primary` or `guard`."""
    against: str
    threshold: float
    """The difference, more being better, must be above this."""


class Check(Record):
    """One requirement and what the run shows."""

    requirement: str
    verdict: Verdict
    metric: str
    contestant: str
    against: str
    value: float
    """The contestant's figure minus the other's, more being better."""
    low: float
    high: float
    n: int
    examples_needed: int | None
    """Of an undecided one: how many examples would decide it four times in five, were `value` the truth."""


class Gate(Record):
    """All requirements: failed where one is, else undecided where one is, else passed."""

    verdict: Verdict
    contestant: str
    checks: tuple[Check, ...]


def parse_requirement(text: str) -> Requirement:
    """A requirement as written: `METRIC: better than NAME [by X]` or `METRIC: not worse than NAME by X`."""
    found = FORM.fullmatch(text)
    if not found or (found["worse"] and not found["margin"]):
        raise InputError(
            f"--require {text!r}: write `METRIC: better than NAME` or `METRIC: not worse than NAME by MARGIN`"
        )
    margin = float(found["margin"] or 0.0)
    return Requirement(
        text=" ".join(text.split()),
        metric=found["metric"],
        against=found["better"] or found["worse"],
        threshold=margin if found["better"] else -margin,
    )


def run_gate(run: Path, requirements: Sequence[Requirement], contestant: str | None = None) -> Gate:
    """Test requirements on a contestant of a finished run; default: that of the last stage."""
    view = load_run(run)
    if found := changed_outputs(run):
        raise DataError(f"{run}: {found[0]}; run its recipe again, then test the requirements")
    names, name = view.summary.contestants, contestant or _last_stage(view)
    for each in [name, *(requirement.against for requirement in requirements)]:
        if each not in names:
            raise DataError(f"{run}: no contestant is named {each}; there are {', '.join(names)}")
    checks = tuple(_check(view, each, name) for each in requirements)
    verdicts = [check.verdict for check in checks]
    worst = next(each for each in ("failed", "undecided", "passed") if each in verdicts)
    return Gate(verdict=worst, contestant=name, checks=checks)


def _last_stage(view: RunView) -> str:
    specs = view.recipe.contestants if view.recipe else {}
    names, stages = view.summary.contestants, {stage.name for stage in view.summary.stages}
    trained = [name for name in names if (specs[name].stage if name in specs else name in stages)]
    return (trained or list(names))[-1]


def _check(view: RunView, requirement: Requirement, contestant: str) -> Check:
    place, against = f"--require {requirement.text!r}", requirement.against
    if against == contestant:
        raise DataError(f"{place}: {contestant} is the contestant itself; name another with --contestant")
    named = {"guard": GUARD, "primary": view.summary.notes.get("primary")}
    metric = named.get(requirement.metric, requirement.metric)
    if not metric:
        raise DataError(
            f"{place}: the recipe names no primary measure; set `scoring.primary`, or name a metric"
        )
    better = metric_info(metric, view.less_is_better).better
    if not better:
        raise DataError(f"{place}: {metric} only describes: neither more nor less of it is better")
    found = difference(*(_measured(view, who, metric, place) for who in (contestant, against)))
    if found is None:
        raise DataError(f"{place}: {contestant} and {against} share fewer than two examples")
    corrected = _corrected_p(view, found)
    low, high = sorted((better * found.low, better * found.high))
    value, threshold = better * found.value, requirement.threshold
    shown = decide(low, high, corrected)
    verdict: Verdict = "undecided"
    if low > threshold and (threshold < 0 or shown == "better"):
        verdict = "passed"
    elif high < threshold and (threshold > 0 or shown == "worse"):
        verdict = "failed"
    share = 1 if threshold or corrected <= found.p_value else found.p_value / corrected
    needed = _needed(value - threshold, (high - low) / 2, found.n, share) if verdict == "undecided" else None
    names = {"metric": metric, "contestant": contestant, "against": against}
    figures = {"value": value, "low": low, "high": high, "n": found.n, "examples_needed": needed}
    return Check(requirement=requirement.text, verdict=verdict, **names, **figures)


def _corrected_p(view: RunView, found: Difference) -> float:
    """The p-value corrected as in the report: for all metrics that rank the two."""
    pair = {found.contestant, found.against}
    rows = [each for each in view.summary.differences if {each.contestant, each.against} == pair]
    ranking = {r.metric: r.p_value for r in rows if metric_info(r.metric, view.less_is_better).better}
    ranking[found.metric] = found.p_value
    return correct_p_values(ranking, view.summary.notes.get("primary") or "")[found.metric]


def _measured(view: RunView, contestant: str, metric: str, place: str) -> Measurement:
    """A contestant's figures, example by example (or group by group)."""
    own = {each.metric: each for each in view.measurements.get(contestant, ())}
    for task, values in view.questions.get(contestant, {}).items():
        own[task] = measurement_from_values(contestant, task, values)
    if metric not in own:
        fix = "; set `scoring.guard` in the recipe" if metric == GUARD else ""
        raise DataError(
            f"{place}: {contestant} has no figure {metric}{fix}; there are {', '.join(own) or 'none'}"
        )
    grouped = view.groups and "/" not in metric and metric != GUARD
    return clustered(own[metric], view.groups) if grouped else own[metric]


def _needed(distance: float, half: float, n: int, share: float) -> int | None:
    """How many examples would decide with a power of 80%, at this share of the level that is corrected."""
    if distance == 0:
        return None
    quantile = NORMAL.inv_cdf(1 - share * (1 - LEVEL) / 2)
    needed = n * ((quantile + NORMAL.inv_cdf(0.8)) / Z * half / distance) ** 2
    return min(MAX_EXAMPLES, max(n + 1, math.ceil(needed)))


def describe(check: Check) -> str:
    """`+0.12 [+0.05, +0.19], n 60`."""
    digits = metric_info(check.metric).digits
    value, low, high = (signed(each, digits) for each in (check.value, check.low, check.high))
    needed = (
        "" if check.examples_needed is None else f"; about {check.examples_needed:,} examples would decide"
    )
    return f"{value} [{low}, {high}], n {check.n}{needed}"


def to_markdown(gate: Gate) -> str:
    """A comment for a pull request."""
    rows = [f"| {check.verdict} | {check.requirement} | {describe(check)} |" for check in gate.checks]
    head = ["| | requirement | difference, more is better, with its 95% interval |", "| --- | --- | --- |"]
    return "\n".join([f"**Gate: {gate.verdict}** ({gate.contestant})", "", *head, *rows, ""])


def to_junit(gate: Gate) -> str:
    """JUnit XML: a test case a requirement; what is undecided is a failure too, of its own type."""
    bad = [check for check in gate.checks if check.verdict != "passed"]
    counts = {"tests": str(len(gate.checks)), "failures": str(len(bad))}
    suite = ElementTree.Element("testsuite", {"name": "adapter-arena gate", **counts})
    for check in gate.checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"gate.{gate.contestant}", "name": check.requirement}
        )
        if check in bad:
            ElementTree.SubElement(case, "failure", {"type": check.verdict, "message": describe(check)})
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
