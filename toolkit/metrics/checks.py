"""Metrics of a recipe's own: a Python function, a JSON schema, a regular expression, a number, tests.

Each gives one number an example, so that intervals and paired tests are those of every other metric.
"""

import importlib.util
import json
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from toolkit import io
from toolkit.errors import DataError
from toolkit.fingerprints import file_hash, python_files
from toolkit.metrics.measurement import Measurement, measurement_from_values
from toolkit.recipe import Check, source_file
from toolkit.sandbox import run_program
from toolkit.types import Completion

Row = Mapping[str, Any]
"""An example: `id`, `messages`, `reference`, `category`, and every column of its row in the data set."""

Checker = Callable[[str, str | None, Row], Any]  # `(completion, reference, example) -> float | dict`

NUMBER = re.compile(r"[-\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-\u2212]?\.\d+")
FENCED = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def measure_check(
    completions: Sequence[Completion], check: Check, rows: Mapping[str, Row] = MappingProxyType({})
) -> list[Measurement]:
    """Measure one contestant's completions, none refused, by one of a recipe's own checks.

    The check sees the columns of `rows` (example id -> its row). A function that returns a dict gives one
    measurement per key, `name_key`.

    Raises:
        DataError: the check cannot be loaded, fails on an example, or needs a reference or a column that an
            example lacks.
    """
    run = CHECKS[check.kind](check)
    values = {each.example_id: _call(run, check, each, rows) for each in completions}
    names = next((list(figures) for figures in values.values()), [])
    for example, figures in values.items():
        if list(figures) != names:
            raise DataError(
                f"metric {check.title}: example {example} has the figures {', '.join(figures)}, others "
                f"{', '.join(names)}; return the same keys for every example"
            )
    found = []
    for name in names:
        own = {example: figures[name] for example, figures in values.items()}
        made = measurement_from_values(completions[0].contestant, name, own)
        found.append(made.model_copy(update={"lower_is_better": check.lower_is_better}))
    return found


def metric_identity(metric: str | Check) -> list[Any]:
    """What a metric is: its name, or a check with hashes of its Python, what that imports, and its schema."""
    if isinstance(metric, str):
        return [metric]
    named = {"function": (metric.function or "").rpartition(":")[2]}
    files = python_files(source_file(metric.function.rpartition(":")[0])) if metric.function else []
    if isinstance(metric.json_schema, str):
        named["json_schema"] = ""
        files.append(Path(metric.json_schema))
    hashes = [file_hash(file) for file in files if file.is_file()]
    return [metric.model_dump(mode="json") | named, hashes]


def _call(run: Checker, check: Check, completion: Completion, rows: Mapping[str, Row]) -> dict[str, float]:
    """A check's figures for one completion, by the names of their metrics."""
    known = completion.model_dump(
        mode="json", include={"messages", "reference", "references", "category"}, exclude_none=True
    )
    row = {**rows.get(completion.example_id, {}), **known, "id": completion.example_id}
    place = f"metric {check.title}: example {completion.example_id}"
    try:
        value = run(completion.completion, completion.reference, row)
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
    except Exception as error:  # noqa: BLE001 - whatever a user's function raises
        raise DataError(f"{place}: {describe_error(error)}") from None
    title = check.title
    figures = {f"{title}_{k}": v for k, v in value.items()} if isinstance(value, dict) else {title: value}
    for part in figures.values():
        if not isinstance(part, (bool, int, float)) and not hasattr(part, "__float__"):
            raise DataError(f"{place}: the value is {part!r}; return a number, or a dict of numbers")
        if not math.isfinite(float(part)):
            raise DataError(f"{place}: the value is {part}; return a finite number")
    return {name: float(part) for name, part in figures.items()}


def describe_error(error: Exception) -> str:
    """An exception in one line, with the line of the user's file that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({last.filename}:{last.lineno})"


def _function_check(check: Check) -> Checker:
    name = str(check.function)
    file, _, function = name.rpartition(":")
    path = source_file(file).expanduser()
    if not path.is_file():
        raise DataError(f"metric {name}: {path}: no such file; a metric is `FILE.py:FUNCTION`")
    spec = importlib.util.spec_from_file_location(f"_metric_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with importing_beside(path):
            spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - whatever a user's file raises
        raise DataError(f"metric {name}: {path} cannot be imported: {describe_error(error)}") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise DataError(f"metric {name}: {path} has no function `{function}`")
    return found  # type: ignore[no-any-return]


@contextmanager
def importing_beside(path: Path) -> Iterator[None]:
    """Let a user's file import the files beside it, and forget them afterwards."""
    before, folder = set(sys.modules), str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
                del sys.modules[name]


def _schema_check(check: Check) -> Checker:
    """Whether a completion, or its one fenced block, is JSON that the schema accepts."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    schema = check.json_schema
    content = io.read_json(Path(schema)) if isinstance(schema, str) else schema
    try:
        kind = validator_for(content)
        kind.check_schema(content)
    except (SchemaError, AttributeError) as error:
        place = schema if isinstance(schema, str) else "json_schema"
        raise DataError(f"{place}: not a JSON schema: {getattr(error, 'message', error)}") from None
    validator = kind(content)

    def fits(completion: str, reference: str | None, row: Row) -> bool:
        fenced = FENCED.findall(completion)
        try:
            value = json.loads(fenced[0] if len(fenced) == 1 else completion)
        except (ValueError, RecursionError):
            return False
        return bool(validator.is_valid(value))

    return fits


def _regex_check(check: Check) -> Checker:
    pattern = re.compile(str(check.regex))
    return lambda completion, reference, row: pattern.search(completion) is not None


def _number_check(check: Check) -> Checker:
    """Whether a completion's first or last number is a reference's last one, to six digits."""

    def value(number: str) -> float:
        return float(number.replace(",", "").replace("\u2212", "-"))

    def same(completion: str, reference: str | None, row: Row) -> bool:
        found = NUMBER.findall(completion)[-1:] if check.number == "last" else NUMBER.findall(completion)[:1]
        expected = [NUMBER.findall(each)[-1:] for each in _references(reference, row)]
        if not all(expected):
            raise DataError("there is no number in its reference")
        numbers = [(value(found[0]), value(each[0])) for each in expected] if found else []
        return any(math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) for one, other in numbers)

    return same


def _text_check(check: Check) -> Checker:
    """Whether a completion is one of the references, white space aside."""
    options: Any = check.exact_match

    def plain(text: str) -> str:
        text = text if options.punctuation else re.sub(r"[^\w\s]", "", text)
        return " ".join((text.casefold() if options.fold_case else text).split())

    return lambda completion, reference, row: plain(completion) in map(plain, _references(reference, row))


def _contains_check(check: Check) -> Checker:
    """Whether every one of some texts is in a completion; `True`: any one of the references."""
    texts = check.contains

    def contains(completion: str, reference: str | None, row: Row) -> bool:
        if texts is True:
            return any(each in completion for each in _references(reference, row))
        return all(each in completion for each in ([texts] if isinstance(texts, str) else texts or ()))

    return contains


def _tests_check(check: Check) -> Checker:
    """Whether a completion's code passes the asserts in a column of its row."""

    def passes(completion: str, reference: str | None, row: Row) -> bool:
        tests = row.get(str(check.executes))
        lines = [tests] if isinstance(tests, str) else tests
        if not lines or not isinstance(lines, (list, tuple)) or not all(isinstance(x, str) for x in lines):
            raise DataError(f"its row has no tests in a column `{check.executes}`")
        code = "\n".join(FENCED.findall(completion)) or completion
        return run_program("\n".join([code, *lines])) == "passed"

    return passes


def _references(reference: str | None, row: Row) -> list[str]:
    found = [*([] if reference is None else [reference]), *row.get("references", ())]
    if not found:
        raise DataError("it has no reference")
    return found


CHECKS: dict[str, Callable[[Check], Checker]] = {
    "function": _function_check,
    "json_schema": _schema_check,
    "regex": _regex_check,
    "number": _number_check,
    "exact_match": _text_check,
    "contains": _contains_check,
    "executes": _tests_check,
}
"""Kind of check in a recipe -> what it computes for one completion; raises where its file is no good."""
