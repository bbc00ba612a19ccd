"""Check a recipe before anything is trained; what needs an unreachable hub is reported as not checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from toolkit.errors import RecipeError
from toolkit.recipe import Recipe, answered_data, contestants
from toolkit.types import Finding

if TYPE_CHECKING:
    from toolkit.run.checks.template import Shown


def _finding(
    severity: Literal["error", "warning", "info"], code: str, place: str, message: str, fix: str
) -> Finding:
    return Finding(code=code, severity=severity, place=place, message=message, fix=fix)


Find = Callable[[str, str, str, str], Finding]  # of code, place, message, fix
error: Find = partial(_finding, "error")  # training would fail, or teach something wrong
warning: Find = partial(_finding, "warning")  # training would run, and may well not do what it should
info: Find = partial(_finding, "info")  # good to know, or could not be checked here


def from_error(code: str, place: str, problem: Exception | str, fix: str = "") -> Finding:
    """An error that the run would stop with; `info` where just the hub could not be reached.

    Without `fix`, the message's own advice is taken: what comes after its last semicolon.
    """
    text = str(problem)
    if not fix:
        text, _, fix = text.rpartition("; ")
    find = info if "hub cannot be reached" in str(problem) else error
    return find(code, place, text or fix, fix)


ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Report:
    """What a check found, the worst first, and rows as the model will see them."""

    findings: list[Finding]
    shown: list[Shown]


def check(recipe: Recipe, *, gpu: str | None = None, examples: int = 0) -> Report:
    """Check a recipe that parsed.

    Args:
        recipe: what would be run.
        gpu: to train on, as `memory.machine` takes it.
        examples: how many rows of each stage to decode.
    """
    from toolkit.run.checks import config, overlap, rows

    tokenizer, shape, tokens, findings = None, None, dict[str, Any](), list[Finding]()
    shown: list[Shown] = []
    if recipe.base:
        from toolkit.run.checks import memory, template, trainer_fields  # imports torch
        from toolkit.train import dry_run

        target = memory.machine(gpu)
        tokenizer, findings = template.tokenizer_of(recipe)
        shape = dry_run.shape_of(recipe)
        findings += trainer_fields.fields(recipe, shape, here=gpu is None)
        findings += trainer_fields.swept(recipe, shape, here=gpu is None)
    special = tokenizer.all_special_tokens if tokenizer else []
    heldout, found = rows.read_heldout(recipe)
    findings += found
    findings += rows.heldout_quality(recipe, heldout, special)
    compared = overlap.Overlap(recipe, heldout.examples)
    sets, found = rows.read(recipe, special, compared)
    findings += found
    findings += config.sections(recipe)
    findings += config.models(recipe)
    findings += config.config(recipe, heldout, here=gpu is None)
    findings += rows.kinds(recipe, sets)
    findings += rows.system_turns(recipe, sets, heldout)
    if tokenizer is not None:
        found, usable = template.template(recipe, sets, tokenizer)
        findings += found
        if usable:
            context = memory.context(shape)
            tokens, found = template.encode(recipe, sets, tokenizer)
            findings += found
            findings += template.lengths(recipe, tokens, tokenizer, context)
            findings += template.prompts_fit(recipe, heldout.examples, tokenizer, context)
            pool = sets[data].rows if (data := answered_data(recipe)) in sets else []
            findings += template.shots_fit(recipe, pool, heldout.examples, tokenizer, context)
            findings += memory.first_steps(recipe, sets, tokenizer, findings, here=gpu is None)
            shown = template.show(recipe, sets, tokenizer, examples)
    findings += compared.findings()
    if recipe.base:
        findings += memory.memory(recipe, sets, tokens, shape, target)
    return Report(sorted(findings, key=lambda finding: ORDER[finding.severity]), shown)


def describe(recipe: Recipe) -> str:
    """One line on what a recipe would do."""
    stages = ", ".join(f"{stage.name} ({stage.method})" for stage in recipe.stages) or "no training"
    return f"{recipe.name}: {stages}; contestants {', '.join(contestants(recipe))}"


def parses(problem: RecipeError) -> list[Finding]:
    """The mistakes of a recipe that does not parse, as findings."""
    lines = [(line, *line.partition(": ")) for line in str(problem).splitlines()]
    return [error("recipe", file, rest or line, "mend the key") for line, file, _, rest in lines]
