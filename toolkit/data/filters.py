"""Row filters such as `status != "tie" and chosen_score >= 8`: parsed here, never run as code.

The grammar is the part of Python's expressions made of column names, literals, comparisons, `in`, `and`,
`or`, `not` and parentheses. Anything else, calls and attributes above all, is refused.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from toolkit.errors import DataError

COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}

Predicate = Callable[[Mapping[str, Any]], bool]


def parse_filter(expression: str) -> Predicate:
    """Whether a row (column -> value) passes; a `DataError` for what is not in the grammar above."""
    try:
        tree = ast.parse(expression, mode="eval").body
        _check(tree, expression)
    except SyntaxError as error:
        raise DataError(f"filter `{expression}`: does not parse at column {error.offset}") from None
    except (ValueError, RecursionError, MemoryError):
        raise DataError("filter: does not parse: a null character in it, or nested too deeply") from None

    def passes(row: Mapping[str, Any]) -> bool:
        try:
            return bool(_value(tree, row))
        except KeyError as error:
            raise DataError(f"filter `{expression}`: the row has no column {error}") from None
        except TypeError as error:
            raise DataError(f"filter `{expression}`: {error}") from None

    return passes


def _check(node: ast.expr, expression: str) -> None:
    if isinstance(node, ast.BoolOp):
        parts: list[ast.expr] = node.values
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        parts = [node.operand]
    elif isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
    elif isinstance(node, (ast.List, ast.Tuple)):
        parts = node.elts
    elif isinstance(node, (ast.Name, ast.Constant)):
        parts = []
    else:
        raise DataError(
            f"filter `{expression}`: only column names, values, comparisons, in, and, or, not are allowed "
            f"(found {type(node).__name__} at column {node.col_offset + 1})"
        )
    for part in parts:
        _check(part, expression)


def _value(node: ast.expr, row: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BoolOp):
        decide = all if isinstance(node.op, ast.And) else any
        return decide(_value(part, row) for part in node.values)
    if isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, row)
        return not inner if isinstance(node.op, ast.Not) else -inner
    if isinstance(node, ast.Compare):
        left = _value(node.left, row)
        for compare, right_node in zip(node.ops, node.comparators, strict=True):
            right = _value(right_node, row)
            if not COMPARE[type(compare)](left, right):
                return False
            left = right
        return True
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(part, row) for part in node.elts]
    return _cell(row, node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)


def _cell(row: Mapping[str, Any], column: str) -> Any:
    value = row[column]
    if isinstance(value, float) and math.isnan(value):  # every comparison with it is false
        raise TypeError(f"{column} is not a number (NaN)")
    return value
