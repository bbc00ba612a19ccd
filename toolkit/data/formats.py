r"""Raw rows in the field's formats -> our rows.

Known formats: `messages` (OpenAI, TRL), ShareGPT `conversations`, Alpaca `instruction/input/output/history`,
`prompt/completion`, `prompt/chosen/rejected`, unpaired `prompt/completion/label` (strings or messages, as
TRL takes them), hh-rlhf's text (`\n\nHuman: ...\n\nAssistant: ...`), and plain `text`. What a row says and we
cannot honour (tool calls, images, weights other than 0 and 1, unknown keys of turns) is refused, not dropped.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, get_args

from pydantic import Field, ValidationError

from toolkit.registry import DATA_FORMATS
from toolkit.types import Message, Record, Role, split_thinking


class Conversation(Record):
    """Supervised row: a conversation whose last turn is the assistant's."""

    id: str
    messages: tuple[Message, ...]
    unlearned: tuple[int, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Positions of assistant turns that are context only (`train: false`, `weight: 0`, those of a prompt)."""


class Preference(Record):
    """Preference row: one prompt, a better and a worse answer."""

    id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    margin: float | None = Field(default=None, exclude_if=lambda value: value is None)
    """By how much the chosen answer is better: reward models are to score it higher by more than this."""


class Rated(Record):
    """Unpaired preference row: one prompt, one answer, and whether it is wanted."""

    id: str
    prompt: tuple[Message, ...]
    completion: str
    desirable: bool


class Text(Record):
    """Plain text, for language modelling."""

    id: str
    text: str


Row = Conversation | Preference | Rated | Text


def prompt_of(row: Row) -> tuple[Message, ...]:
    """What comes before the last answer."""
    if isinstance(row, Conversation):
        return row.messages[:-1]
    return () if isinstance(row, Text) else row.prompt


def answer_of(row: Row) -> str:
    """The answer that is learned or preferred; a text is all answer."""
    if isinstance(row, Conversation):
        return row.messages[-1].content
    if isinstance(row, Preference):
        return row.chosen
    return row.completion if isinstance(row, Rated) else row.text


ROLES = {role: role for role in get_args(Role)} | {"developer": "system"}
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
LABELS = dict.fromkeys(("true", "1", "1.0", "yes"), True) | dict.fromkeys(("false", "0", "0.0", "no"), False)
"""What a `label` may be, in lower case."""

UNREADABLE = (
    *("tools", "functions", "images", "image", "videos", "video", "audios", "audio"),
    *("chat_template_kwargs", "documents", "reasoning_content", "thinking"),
)
"""Columns that change what a row means, and that training here would leave out."""

MISNAMED = {"system_prompt": "system", "system_message": "system", "kto_tag": "label"}
"""Columns that have another name here."""

WEIGHTS = ("weight", "loss_weight", "sample_weight", "train")
"""Columns by which rows are learned more or less."""

LEARNED = ("weight", "train", "training", "loss")  # keys of a turn by which it is learned or not

THOUGHTS = ("reasoning_content", "reasoning", "thinking")
CALLS = ("tool_calls", "function_call")
TURN_KEYS = frozenset({"role", "content", "from", "value", *LEARNED, *THOUGHTS, *CALLS})
NOTES = re.compile(
    r"""(\w+_)?(id|ids|uuid|identifier|hash|index|idx|turn|time|timestamp|date|at|ip|tokens|count|length)
    | language | lang | country | state | header | model | source | meta | metadata | annotations? | markdown
    | score | rating | toxic | redacted""",
    re.VERBOSE,
)
"""Keys of a turn that say where it comes from and how it was judged, which are left out."""

COLUMNS = frozenset().union(*(form.columns for form in DATA_FORMATS.values())) | {
    *("id", "question_id", "category", "reference", "references", "system", "margin")
}
ALPACA = frozenset({"input", "history"})  # columns that are read; the latter beside an `instruction`

OF_THE_QUESTION = ("context", "passage", *sorted(ALPACA))
"""Columns that may hold a part of the question; with `prompt` none is read, with `instruction` two."""

TEXT_PARTS = (None, "text", "input_text", "output_text")
EMPTY: tuple[Any, ...] = (None, "", [], (), {})

VISIBLE = re.compile(
    r"[^\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0]"
)
"""A character that is seen."""

HUMAN = re.compile(r"\s*Human: ")
TURN = re.compile(r"(?:\A\s*|(?:\r?\n){2})(Human|Assistant):")


class RowError(ValueError):
    """What is wrong with one row; the reader adds file and line."""


def detect(columns: Mapping[str, Any]) -> str:
    """The format that these columns show."""
    for name, form in DATA_FORMATS.items():
        if form.columns <= columns.keys():
            labelled = name in ("messages", "sharegpt") and _label(columns) is not None
            return "unpaired" if labelled else name
    known = "; ".join("/".join(sorted(form.columns)) for form in DATA_FORMATS.values())
    rename = guess_rename(columns)
    pairs = ", ".join(f"{old}: {new}" for old, new in rename.items())
    mend = f"set `rename: {{{pairs}}}`" if rename else f"rename them to one of: {known}"
    raise RowError(f"columns {', '.join(columns)} are no known format; {mend}")


MEANINGS = {
    "prompt": ("prompt", "question", "query", "input", "instruction", "problem", "message", "source",
               "request", "user", "text", "sentence", "document", "article"),
    "completion": ("completion", "answer", "response", "output", "reply", "target", "reference", "solution",
                   "assistant", "summary", "translation", "sql", "code", "gold", "label", "class"),
    "chosen": ("chosen", "preferred", "better", "winner", "accepted", "positive", "good"),
    "rejected": ("rejected", "dispreferred", "worse", "loser", "negative", "bad"),
}  # fmt: skip
"""Our column -> names that others give it, the likelier first."""


def guess_rename(columns: Mapping[str, Any], *, for_scoring: bool = False) -> dict[str, str]:
    """Columns that make a known format under other names -> these names; empty: none can be guessed.

    Of two columns of texts under unknown names the first is the prompt. `for_scoring`: the answer becomes a
    test example's `reference`.
    """
    shown = (name for name, cell in columns.items() if isinstance(cell, (str, list)) or _is_number(cell))
    lower = {name.strip().lower(): name for name in shown}
    found: dict[str, str] = {}
    for ours, names in MEANINGS.items():
        free = (lower[name] for name in names if name in lower and lower[name] not in found)
        if (name := next(free, None)) is not None:
            found[name] = ours
    if {"chosen", "rejected", "prompt"} <= set(found.values()):
        found = {name: ours for name, ours in found.items() if ours != "completion"}
    elif {"prompt", "completion"} <= set(found.values()):
        answer = "reference" if for_scoring else "completion"
        found = {name: {"completion": answer}.get(ours, ours) for name, ours in found.items()}
        found = {name: ours for name, ours in found.items() if ours in ("prompt", answer)}
    elif len(columns) == len(lower) == 2 and not {"text", "id", "index"} & lower.keys():  # noqa: PLR2004
        found = dict(zip(columns, ("prompt", "reference" if for_scoring else "completion"), strict=True))
    else:
        return {}
    return {name: ours for name, ours in found.items() if name != ours}


def convert(row: Mapping[str, Any], form: str, row_id: str) -> Row:
    """One raw row as ours.

    Raises:
        RowError: a column is missing or empty, a role unknown, there is no answer to learn, or the row
            says what cannot be honoured.
    """
    if form == "auto":
        form = detect(row)
        check_one_format(row, form)
    if whole := DATA_FORMATS[form].row:
        return resolve_name(whole)(row, row_id)  # type: ignore[no-any-return]
    turns, context = _conversation(row, form)
    if turns[-1].role != "assistant":
        raise RowError(
            f"the last turn is the {turns[-1].role}'s; a row to learn from ends with the assistant's"
        )
    answers = {index for index, turn in enumerate(turns) if turn.role == "assistant"}
    if answers <= context:
        raise RowError("no assistant turn is to be learned (`weight: 0` or `train: false` on all of them)")
    return Conversation(id=row_id, messages=turns, unlearned=tuple(sorted(context & answers)))


def check_one_format(row: Mapping[str, Any], form: str) -> None:
    """Refuse a row that is two different conversations."""
    given = {name for name, value in row.items() if value not in EMPTY}
    forms = [name for name, each in DATA_FORMATS.items() if each.turns and each.columns <= given]
    for other in forms[1:] if form in forms else ():
        if conversation(row, other) != conversation(row, form):
            raise RowError(f"the row is one conversation as `{form}`, another as `{other}`; set `format`")


def passed_over(row: Mapping[str, Any]) -> set[str]:
    """Columns of a row, and keys of its turns, that hold something and are not read."""
    rest = row.keys() - COLUMNS
    found = {name for name in (rest - ALPACA if "instruction" in row else rest) if row[name] not in EMPTY}
    for turns in row.values():
        for turn in turns if isinstance(turns, (list, tuple)) else ():
            if isinstance(turn, Mapping) and not turn.keys() <= TURN_KEYS:
                found |= {f"{key} of turns" for key in turn.keys() - TURN_KEYS if turn[key] not in EMPTY}
    return found


def conversation(row: Mapping[str, Any], form: str) -> tuple[Message, ...]:
    """The turns of a supervised row, the answer last."""
    return _conversation(row, form)[0]


Turns = tuple[tuple[Message, ...], set[int]]
"""The turns of a conversation, and the positions of those that are not learned."""


def _conversation(row: Mapping[str, Any], form: str) -> Turns:
    _check_columns(row)
    reader = DATA_FORMATS[form].turns
    if reader is None:
        raise RowError(f"format {form} has no conversation")
    turns, context = resolve_name(reader)(row)
    with_system = _with_system(row, turns)
    return with_system, {index + len(with_system) - len(turns) for index in context}


def messages_turns(row: Mapping[str, Any]) -> Turns:
    raw = _column(row, "messages")
    return _messages(raw, "messages"), _unlearned(raw, "messages")


def sharegpt_turns(row: Mapping[str, Any]) -> Turns:
    raw = _column(row, "conversations")
    if isinstance(raw, (list, tuple)):
        raw = [_from_sharegpt(turn) for turn in raw]
    return _messages(raw, "conversations"), _unlearned(raw, "conversations")


def completion_turns(row: Mapping[str, Any]) -> Turns:
    prompt = _prompt(row)
    turns = (*prompt, *_rest(row, "completion", prompt))
    context = {len(turns) + position for position in _unlearned_at_end(row, "completion")}
    return turns, context | set(range(len(prompt)))


def _from_sharegpt(turn: Any) -> Any:
    if not isinstance(turn, Mapping) or "from" not in turn:
        return turn
    return {**turn, "role": SHAREGPT_ROLES.get(str(turn["from"]), turn["from"]), "content": turn.get("value")}


def alpaca_turns(row: Mapping[str, Any]) -> Turns:
    extra = _optional_text(row, "input")
    prompt = _text(row, "instruction") + (f"\n\n{extra}" if extra else "")
    history = row.get("history")
    if history is None or (isinstance(history, str) and not history.strip()):
        history = []
    if not isinstance(history, Sequence) or isinstance(history, str):
        raise RowError("`history` is not a list of [question, answer]")
    turns = []
    for position, pair in enumerate(history):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:  # noqa: PLR2004
            raise RowError(f"`history`[{position}] is not [question, answer]")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    earlier = _messages(turns, "history") if turns else ()
    answer = Message(role="assistant", content=_answer(_text(row, "output"), "`output`"))
    return (*earlier, Message(role="user", content=prompt), answer), set()


def _rest(row: Mapping[str, Any], column: str, prompt: tuple[Message, ...]) -> tuple[Message, ...]:
    """What follows on the prompt: a string, or messages, which may repeat the prompt before that."""
    value = _column(row, column)
    value = [value] if isinstance(value, Mapping) else str(value) if _is_number(value) else value
    if isinstance(value, str):
        return (Message(role="assistant", content=_answer(value, f"`{column}`")),)
    turns = _messages(value, column)
    if turns[: len(prompt)] == prompt:
        turns = turns[len(prompt) :]
    if not turns or turns[-1].role != "assistant":
        raise RowError(f"`{column}` does not end with an assistant turn")
    return turns


def preference_row(row: Mapping[str, Any], row_id: str) -> Preference:
    """TRL's rule: what both conversations begin with is the prompt, and the rest the answers."""
    _check_columns(row)
    prompt = _prompt(row) if row.get("prompt") else ()
    chosen, rejected = (_side(row, side, prompt) for side in ("chosen", "rejected"))
    if chosen == rejected:
        raise RowError("`chosen` and `rejected` are the same: nothing to prefer")
    same = next((n for n, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other), -1)
    shared = chosen[:same]
    if same < 0 or len(chosen) != len(shared) + 1 or len(rejected) != len(shared) + 1:
        text = f"`chosen` and `rejected` differ before their last answers (turn {len(shared) + 1})"
        raise RowError(f"{text}: give both the same history")
    if not shared:
        raise RowError("no prompt: give a `prompt` column, or chosen/rejected as whole conversations")
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        raise RowError("`chosen` or `rejected` does not end with an assistant turn")
    for side in ("chosen", "rejected"):
        if -1 in _unlearned_at_end(row, side):
            raise RowError(f"`{side}` {NOT_LEARNED}")
    sides = {"chosen": chosen[-1].content, "rejected": rejected[-1].content}
    return Preference(id=row_id, prompt=_with_system(row, shared), margin=_margin(row), **sides)


def _margin(row: Mapping[str, Any]) -> float | None:
    value = row.get("margin")
    if value is None or value == "":
        return None
    try:
        margin = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        margin = math.nan
    if not math.isfinite(margin):
        raise RowError(f"`margin` is {value!r}; give the number by which `chosen` is better")
    return margin


def text_row(row: Mapping[str, Any], row_id: str) -> Text:
    return Text(id=row_id, text=_text(row, "text"))


def _side(row: Mapping[str, Any], side: str, prompt: tuple[Message, ...]) -> tuple[Message, ...]:
    """The whole conversation that one side of a pair is."""
    value = _column(row, side)
    if isinstance(value, str) and not prompt and HUMAN.match(value):
        return _human_assistant(value, side)
    rest = _rest(row, side, prompt)
    if not prompt or rest[0].role == "assistant":
        return (*prompt, *rest)
    for shared in range(len(prompt) - 1, 0, -1):
        if prompt[-shared:] == rest[:shared]:
            return (*prompt, *rest[shared:])
    if all(turn in rest[:-1] for turn in prompt):
        return rest
    raise RowError(f"`prompt` is not what `{side}` answers: leave it out, or `{side}`'s own beginning")


def rated_row(row: Mapping[str, Any], row_id: str) -> Rated:
    value, label = _column(row, "label"), _label(row)
    if label is None:
        raise RowError(f"`label` is {value!r}; use true for a wanted answer, false for an unwanted one")
    form = next((name for name in ("messages", "conversations") if name in row), None)
    if "prompt" in row or form is None:
        prompt = _prompt(row)
        answers = _rest(row, "completion", prompt)
        if len(answers) > 1:
            raise RowError("`completion` has several turns under one label: put earlier ones into `prompt`")
        _check_columns(row)
        turns, unlearned = _with_system(row, (*prompt, *answers)), -1 in _unlearned_at_end(row, "completion")
    else:
        turns, context = _conversation(row, "messages" if form == "messages" else "sharegpt")
        unlearned = len(turns) - 1 in context
    if len(turns) == 1 or turns[-1].role != "assistant":
        raise RowError("a labelled row is a prompt and the assistant's answer to it")
    if unlearned:
        raise RowError(f"its answer {NOT_LEARNED}")
    return Rated(id=row_id, prompt=turns[:-1], completion=turns[-1].content, desirable=label)


def _prompt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt = _column(row, "prompt")
    if not isinstance(prompt, str) and not _is_number(prompt):
        return _messages(prompt, "prompt")
    if isinstance(prompt, str) and HUMAN.match(prompt) and len(TURN.findall(prompt)) > 1:
        return _human_assistant(prompt, "prompt")
    return (Message(role="user", content=_text(row, "prompt")),)


def _human_assistant(text: str, column: str) -> tuple[Message, ...]:
    """The turns of hh-rlhf's text form; an open `Assistant:` at the end is where the answer goes."""
    _, *parts = TURN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    named = zip(parts[::2], parts[1::2], strict=True)
    turns = [{"role": roles[name], "content": part.strip()} for name, part in named]
    if turns and turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()
    return _messages(turns, column)


def _with_system(row: Mapping[str, Any], turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """A `system` column becomes the first turn, unless it is there already."""
    system = _optional_text(row, "system")
    if not system or turns[0] == Message(role="system", content=system):
        return turns
    if turns[0].role == "system":
        raise RowError("the `system` column and the first turn are different system turns: keep one of them")
    return (Message(role="system", content=system), *turns)


def _check_columns(row: Mapping[str, Any]) -> None:
    if row.keys().isdisjoint((*UNREADABLE, *WEIGHTS, *MISNAMED, *OF_THE_QUESTION)):
        return
    whole = "instruction" if "instruction" in row else "prompt"
    for name in OF_THE_QUESTION if isinstance(row.get(whole), str) else ():
        if row.get(name) not in EMPTY and not (name in ALPACA and whole == "instruction"):
            mend = (
                f"set `rename: {{{name}: input}}`" if whole == "instruction" else f"put it into the `{whole}`"
            )
            raise RowError(f"`{name}` is not read beside `{whole}`: {mend}, or `rename` the column away")
    for name in UNREADABLE:
        if row.get(name) not in (*EMPTY, "[]", "null"):
            raise RowError(f"`{name}` cannot be learned here; take the row out, or `rename` the column away")
    for name, ours in MISNAMED.items():
        if row.get(name) not in EMPTY:
            raise RowError(f"`{name}` is read as `{ours}` only: set `rename: {{{name}: {ours}}}`")
    for name in WEIGHTS:
        if row.get(name) not in EMPTY and str(row[name]).strip().lower() not in ("1", "1.0", "true"):
            mend = "take the row out, or `rename` the column"
            raise RowError(f"`{name}` is {row[name]!r}: rows are learned alike; {mend}")


def _unlearned(turns: Any, column: str) -> set[int]:
    context = set()
    for position, turn in enumerate(turns):
        marks = {name: turn[name] for name in LEARNED if turn.get(name) is not None}
        for name, mark in marks.items():
            place = f"`{column}`[{position}] has {name} {mark!r}"
            if mark not in (0, 1):
                raise RowError(f"{place}; a turn is learned (1, true) or not (0, false)")
            if mark != next(iter(marks.values())):
                raise RowError(f"{place}, and another mark that says the opposite; keep one of them")
            if mark and turn["role"] != "assistant":
                raise RowError(f"{place}; only the assistant's turns can be learned: take the mark out")
            if not mark:
                context.add(position)
    return context


def _unlearned_at_end(row: Mapping[str, Any], column: str) -> set[int]:
    """Positions, from the end (-1), of turns in a column that are not learned."""
    turns = [row[column]] if isinstance(row[column], Mapping) else row[column]
    whole = turns if isinstance(turns, (list, tuple)) else ()
    return {position - len(whole) for position in _unlearned(whole, column)}


NOT_LEARNED = "is marked as not learned (`weight: 0`, `train: false`), and nothing else is: take the row out"


def _label(row: Mapping[str, Any]) -> bool | None:
    """Whether a row says that its answer is wanted; `None`: it does not say."""
    return LABELS.get(str(row.get("label")).strip().lower())


def _messages(value: Any, column: str) -> tuple[Message, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise RowError(f"`{column}` is not a list of messages")
    turns = []
    for position, turn in enumerate(value):
        place = f"`{column}`[{position}]"
        if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
            raise RowError(f"{place} has no role and content")
        if not isinstance(turn["role"], str) or turn["role"] not in ROLES:
            known = ", ".join(get_args(Role))
            raise RowError(f"{place} has the unknown role {turn['role']!r}; use {known}")
        for key in turn.keys() - TURN_KEYS:
            if turn[key] not in EMPTY and not NOTES.fullmatch(key):
                raise RowError(f"{place} has `{key}`, which cannot be learned here; take it out of the turn")
        try:
            turns.append(Message(role=ROLES[turn["role"]], content=_content(turn, place)))
        except ValidationError as error:
            raise RowError(f"{place}: {error.errors()[0]['msg']}") from None
    return tuple(turns)


def _content(turn: Mapping[str, Any], place: str) -> str:
    """A turn's text, given as such or as parts of text, with its thinking before it."""
    if any(turn.get(key) for key in CALLS):
        raise RowError(f"{place} calls tools, which cannot be learned here; take the row out")
    value = turn["content"]
    if isinstance(value, (list, tuple)):
        parts = [{"text": part} if isinstance(part, str) else part for part in value]
        for part in parts:
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
                raise RowError(f"{place} has a part of type {kind!r}; only text can be learned here")
        value = "".join(part["text"] for part in parts)
    if not isinstance(value, str) or not VISIBLE.search(value):
        raise RowError(f"{place} is empty")
    thoughts = [turn[key] for key in THOUGHTS if turn.get(key)]
    thought = thoughts[0] if thoughts else None
    if turn["role"] != "assistant":
        if thought is not None:
            raise RowError(f"{place} has thinking, and is not the assistant's; take it out of the turn")
        return value
    if thought is None:
        return _answer(value, place)
    twice = split_thinking(value)[0] is not None or thoughts.count(thought) < len(thoughts)
    if not isinstance(thought, str) or twice:
        raise RowError(f"{place} has thinking that is not text, or two of it; keep one text")
    return f"<think>\n{thought.strip()}\n</think>\n\n{value}"


def _answer(text: str, place: str) -> str:
    """An answer that goes on after its thinking."""
    if not VISIBLE.search(split_thinking(text)[1]):
        raise RowError(f"{place} is {'thinking without an answer' if VISIBLE.search(text) else 'empty'}")
    return text


def _column(row: Mapping[str, Any], name: str) -> Any:
    if row.get(name) is None:
        raise RowError(f"no column `{name}`; the row has {', '.join(row)}")
    return row[name]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(row: Mapping[str, Any], name: str) -> str:
    value = _column(row, name)
    value = str(value) if _is_number(value) else value
    if not isinstance(value, str) or not VISIBLE.search(value):
        raise RowError(f"`{name}` is empty or not text")
    return value


def _optional_text(row: Mapping[str, Any], name: str) -> str:
    """Text or a number as text, without space around it; empty where there is none."""
    value = "" if row.get(name) is None else row[name]
    if not isinstance(value, str) and not _is_number(value):
        raise RowError(f"`{name}` is not text")
    return str(value).strip()
