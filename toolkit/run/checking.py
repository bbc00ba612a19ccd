"""Everything that can be wrong with a recipe, found before anything is trained.

What needs the hub and cannot be reached is reported as not checked, never as fine.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from toolkit.data import Conversation, Preference, Rated, Row, load_examples, load_rows
from toolkit.data.chat import encode_conversation, prompt_ids
from toolkit.errors import DataError, ModelError, RecipeError
from toolkit.models import bases
from toolkit.recipe import Recipe, Stage, contestants
from toolkit.train.methods import METHODS, config_fields, stranger
from toolkit.types import Finding, Message

RETIRED = {
    "max_seq_length": "max_length",
    "max_prompt_length": "max_length (prompt and answer together)",
    "warmup_ratio": "warmup_steps (a value below 1 is a share of all steps)",
    "group_by_length": 'train_sampling_strategy: "group_by_length"',
    "dataset_text_field": "a data source with format: text",
    "tokenizer": "nothing: the base's tokenizer is used",
    "evaluation_strategy": "eval_strategy",
    "ref_adapter_name": "nothing: the stage's `start` is the reference",
    "model_adapter_name": "nothing: adapters are named by their stage",
    "no_cuda": "model.device: cpu",
    "overwrite_output_dir": "nothing: a changed recipe redoes what it touches",
    "num_train_epoch": "num_train_epochs",
}
"""Trainer fields of older tutorials -> what replaces them."""


def check(recipe: Recipe) -> list[Finding]:
    """Every finding about a recipe that parsed, the errors first."""
    rows, findings = _read(recipe)
    findings += [finding for stage in recipe.stages for finding in _trainer(stage)]
    findings += [finding for stage in recipe.stages for finding in _kinds(stage, rows)]
    tokenizer, found = _tokenizer(recipe)
    findings += found
    if tokenizer is not None:
        findings += [finding for stage in recipe.stages for finding in _lengths(stage, rows, tokenizer)]
    findings += _overlap(recipe, rows)
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda finding: order[finding.severity])


def _read(recipe: Recipe) -> tuple[dict[str, list[Row]], list[Finding]]:
    """The rows of every data set that stages use, and what is wrong with them."""
    rows: dict[str, list[Row]] = {}
    findings: list[Finding] = []
    used = dict.fromkeys(name for stage in recipe.stages for name in (stage.data, stage.heldout) if name)
    for name in used:
        source = recipe.data[name]
        try:
            found = load_rows(source, seed=recipe.seed)
        except DataError as error:
            findings.append(_unread(name, str(error)))
            continue
        rows[name] = found.rows
        if found.skipped:
            text = f"{found.skipped} rows do not fit and are left out"
            findings.append(
                _finding("rows-skipped", "warning", f"data.{name}", text, "look at them, or drop them")
            )
        twice = len(found.rows) - len({row.model_dump_json(exclude={"id"}) for row in found.rows})
        if twice:
            text = f"{twice} of {len(found.rows)} rows are exact copies of others"
            findings.append(_finding("rows-double", "warning", f"data.{name}", text, "drop the copies"))
    if recipe.scoring:
        try:
            load_examples(recipe.data[recipe.scoring.examples], seed=recipe.seed)
        except DataError as error:
            findings.append(_unread(recipe.scoring.examples, str(error)))
    return rows, findings


def _unread(name: str, error: str) -> Finding:
    if "from the hub" in error:
        fix = "it will be fetched at the first run; to check it now, go online"
        return _finding("data-not-checked", "info", f"data.{name}", error, fix)
    return _finding("data", "error", f"data.{name}", error, "mend the row, or set skip_bad_rows")


def _trainer(stage: Stage) -> Iterator[Finding]:
    """Trainer fields that TRL does not know, and values it refuses."""
    known, name = config_fields(stage), METHODS[stage.method].config.rpartition(".")[2]
    for field in stage.trainer:
        place = f"stages.{stage.name}.trainer.{field}"
        if field in known:
            continue
        if field in RETIRED:
            text = f"{field} is gone from today's libraries"
            yield _finding("retired-field", "error", place, text, f"use {RETIRED[field]}")
        else:
            close = difflib.get_close_matches(field, known, n=1)
            fix = f"did you mean {close[0]}?" if close else f"see the fields of trl.{name}"
            yield _finding("unknown-field", "error", place, f"{name} has no field {field}", fix)


def _kinds(stage: Stage, rows: dict[str, list[Row]]) -> Iterator[Finding]:
    for name in (stage.data, stage.heldout):
        text = stranger(stage, rows.get(name or "", []))
        if text:
            yield _finding("row-kind", "error", f"stages.{stage.name}", text, f"give {name} another format")


def _tokenizer(recipe: Recipe) -> tuple[Any, list[Finding]]:
    """The base's tokenizer where it can be had, and whether its chat template will do."""
    try:
        folder = bases.resolve_base(recipe.base, revision=recipe.model.revision)
    except ModelError as error:
        fix = "it will be fetched at the first run; to check it now, go online"
        severity = "info" if "hub cannot be reached" in str(error) else "error"
        return None, [_finding("base-not-checked", severity, "base", str(error), fix)]
    from toolkit.models.loading import load_tokenizer

    tokenizer = load_tokenizer(folder, recipe.model.chat_template)
    talk = [Message(role="user", content="a"), Message(role="assistant", content="b")]
    try:
        encoded = encode_conversation(tokenizer, talk)
        prompt_ids(tokenizer, talk[:1])
    except DataError as error:
        fix = "name a template in model.chat_template"
        return None, [_finding("chat-template", "error", "model.chat_template", str(error), fix)]
    if encoded.input_ids[-1] != tokenizer.eos_token_id:
        text = "answers do not end with the tokenizer's end token, so the model would not learn to stop"
        return tokenizer, [
            _finding("end-token", "warning", "model.chat_template", text, "use another template")
        ]
    return tokenizer, []


def _lengths(stage: Stage, rows: dict[str, list[Row]], tokenizer: Any) -> Iterator[Finding]:
    """How many rows are cut at the maximum length, and whether an answer is lost."""
    limit = stage.trainer.get("max_length", METHODS[stage.method].max_length)
    if limit is None:
        return
    talks = [_talk(row) for row in rows.get(stage.data, [])]
    cut = [encode_conversation(tokenizer, talk, limit) for talk in talks if talk]
    truncated = [row for row in cut if row.truncated]
    if truncated:
        lost = sum(not any(row.completion_mask) for row in truncated)
        text = (
            f"{len(truncated)} of {len(cut)} rows are cut at {limit} tokens; {lost} lose their whole answer"
        )
        severity = "error" if lost == len(cut) else "warning"
        place = f"stages.{stage.name}.trainer.max_length"
        yield _finding("truncated", severity, place, text, "raise max_length, or shorten the rows")


def _talk(row: Row) -> tuple[Message, ...]:
    if isinstance(row, Conversation):
        return row.messages
    if isinstance(row, Preference):
        return (*row.prompt, Message(role="assistant", content=row.chosen))
    if isinstance(row, Rated):
        return (*row.prompt, Message(role="assistant", content=row.completion))
    return ()


def _overlap(recipe: Recipe, rows: dict[str, list[Row]]) -> Iterator[Finding]:
    """Held-out questions that also occur in training data."""
    if recipe.scoring is None:
        return
    try:
        examples = load_examples(recipe.data[recipe.scoring.examples], seed=recipe.seed)
    except DataError:
        return
    asked = {_key(example.messages[-1].content) for example in examples}
    for name in dict.fromkeys(stage.data for stage in recipe.stages):
        seen = {
            _key(turn.content) for row in rows.get(name, []) for turn in _talk(row) if turn.role == "user"
        }
        if seen & asked:
            text = f"{len(seen & asked)} of {len(asked)} held-out questions are also in `{name}`"
            fix = "take them out of the training data: scores on them tell nothing"
            yield _finding("overlap", "error", f"data.{name}", text, fix)


def _key(text: str) -> str:
    return " ".join(text.lower().split())


def _finding(code: str, severity: Any, place: str, message: str, fix: str) -> Finding:
    return Finding(code=code, severity=severity, place=place, message=message, fix=fix)


def describe(recipe: Recipe) -> str:
    """One line on what a recipe would do."""
    stages = ", ".join(f"{stage.name} ({stage.method})" for stage in recipe.stages) or "no training"
    return f"{recipe.name}: {stages}; contestants {', '.join(contestants(recipe))}"


def parses(error: RecipeError) -> list[Finding]:
    """The mistakes of a recipe that does not parse, as findings."""
    lines = str(error).splitlines()
    return [_finding("recipe", "error", *_place(line), "mend the key") for line in lines]


def _place(line: str) -> tuple[str, str]:
    file, _, rest = line.partition(": ")
    return file, rest or line
