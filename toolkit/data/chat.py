"""Chat templates and loss masks: which tokens a model sees, and which of them it learns.

Every answer is learned after just the tokens that the model would be given at that place, by rendering the
conversation turn by turn and comparing. Where a template changes earlier turns as later ones are added (it
strips their thinking, or ends the last turn otherwise), the row is split there, so that this holds for every
template. The end-of-turn token is learned: a model that never sees it in the loss never stops.
"""

import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import DataError, first_line
from toolkit.types import Message, split_thinking

OPENED, CLOSED = "\n", "\n</think>\n\n"
"""What stands around a thought where the template does not say: before it, and between it and the answer."""


@dataclass(frozen=True)
class Encoded:
    """One row, or a part of one, as the model gets it."""

    input_ids: list[int]
    completion_mask: list[int]
    """1 for the tokens that are learned: every answer with its end token; 0 elsewhere. Same length."""
    truncated: bool  # whether tokens beyond the maximum length were cut off


@dataclass(frozen=True)
class Exchange:
    """One answer and what it answers, as texts."""

    prompt: Sequence[Message]
    answer: str
    before: str  # the prompt rendered, up to where the assistant starts to answer
    text: str  # what is learned after it


def exchanges(tokenizer: Any, messages: Sequence[Message], unlearned: Collection[int] = ()) -> list[Exchange]:
    """The answers of a conversation that are learned, rendered; errors as of `encode_turns`."""
    found = []
    for index, message in enumerate(messages):
        if message.role == "assistant" and index not in unlearned:
            before = render(tokenizer, messages[:index])
            text = answer_text(tokenizer, messages[:index], message.content, before)
            found.append(Exchange(messages[:index], message.content, before, text))
    return found


def encode_exchanges(
    tokenizer: Any, rows: Sequence[Sequence[Exchange]], max_length: int | None = None
) -> list[list[Encoded]]:
    """The sequences of each row; many rows are turned into tokens at once, which is several times faster."""
    texts = [text for row in rows for each in row for text in (each.before, each.text)]
    ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else ())
    pairs = ([(next(ids), _with_end(tokenizer, next(ids), each)) for each in row] for row in rows)
    return [_joined(row, max_length) for row in pairs]


def _joined(pairs: Sequence[tuple[list[int], list[int]]], max_length: int | None) -> list[Encoded]:
    """Prompts and answers in one sequence as long as each prompt goes on from what came before."""
    parts: list[tuple[list[int], list[int]]] = []
    for before, answer in pairs:
        if not parts or before[: len(parts[-1][0])] != parts[-1][0]:
            parts.append(([], []))
        ids, mask = parts[-1]
        mask += [0] * (len(before) - len(ids)) + [1] * len(answer)
        ids[:] = [*before, *answer]
    longest = sys.maxsize if max_length is None else max_length
    return [Encoded(ids[:longest], mask[:longest], len(ids) > longest) for ids, mask in parts]


def encode_turns(
    tokenizer: Any,
    messages: Sequence[Message],
    unlearned: Collection[int] = (),
    max_length: int | None = None,
) -> list[Encoded]:
    """Token ids and loss masks of a conversation; a `DataError` where the template refuses or changes it."""
    return encode_exchanges(tokenizer, [exchanges(tokenizer, messages, unlearned)], max_length)[0]


def encode_conversation(
    tokenizer: Any, messages: Sequence[Message], max_length: int | None = None
) -> Encoded:
    """The sequence that ends with the last answer; all earlier answers in it are learned too."""
    return encode_turns(tokenizer, messages, max_length=max_length)[-1]


def encode_answers(tokenizer: Any, prompt: Sequence[Message], *answers: str) -> list[list[int]]:
    """Token ids of a prompt, as it is generated from, and then of each answer, its end-of-turn token last.

    Thinking in an answer (`<think>...</think>` first) is put in the template's own form.

    Raises:
        DataError: as `encode_turns`.
    """
    before = render(tokenizer, prompt)
    texts = [answer_text(tokenizer, prompt, answer, before) for answer in answers]
    ids, *found = tokenizer([before, *texts], add_special_tokens=False)["input_ids"]
    exchanged = [Exchange(prompt, answer, before, text) for answer, text in zip(answers, texts, strict=True)]
    return [ids, *(_with_end(tokenizer, each, of) for each, of in zip(found, exchanged, strict=True))]


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation up to where the assistant starts to answer."""
    return encode_answers(tokenizer, messages)[0]


def answer_ids(tokenizer: Any, prompt: Sequence[Message], answer: str) -> list[int]:
    """Token ids of an answer, as `encode_answers`."""
    return encode_answers(tokenizer, prompt, answer)[1]


def _with_end(tokenizer: Any, ids: list[int], exchange: Exchange) -> list[int]:
    """An answer's tokens up to its end token: what comes after it (a newline) is never generated."""
    ends = end_tokens(tokenizer)
    for position in range(len(ids)):
        if ids[position] in ends and not tokenizer.decode(ids[position:], skip_special_tokens=True).strip():
            return ids[: position + 1]
    return [*ids, *_next_end(tokenizer, exchange.prompt, exchange.answer, ends)]


def answer_text(tokenizer: Any, prompt: Sequence[Message], answer: str, before: str) -> str:
    """What the model is to write after the generation prompt, with what the template puts after answers.

    As the template shows it; where that leaves the thinking out, or begins one that the answer has not, as
    the model writes it. `before` is the prompt, rendered.
    """
    answered = Message(role="assistant", content=answer)
    thought, visible = split_thinking(answer)
    opened = opens_thinking(before)
    start = before.rstrip() if opened else before
    for apart in (True, False):
        whole = _render(tokenizer, (*prompt, answered), generate=False, apart=apart)
        tail = whole[len(start) :]
        if whole.startswith(start) and visible.strip() in tail and (thought or "") in tail:
            return tail.removeprefix(before[len(start) :])
    if thought is None and not opened:
        raise DataError("the chat template does not show the answer after its generation prompt as it is")
    shown = _render(tokenizer, (*prompt, answered.model_copy(update={"content": visible})), generate=False)
    _, found, end = shown.rpartition(visible.strip())
    if not found:
        raise DataError("the chat template does not show the answer as it is")
    return f"{'' if opened else '<think>' + OPENED}{thought or ''}{CLOSED}{visible}{end}"


def strips_thinking(tokenizer: Any, prompt: Sequence[Message], answer: str) -> bool:
    """Whether the template leaves the thinking of an answer out, though it is the last one."""
    thought, _ = split_thinking(answer)
    answered = (*prompt, Message(role="assistant", content=answer))
    return thought is not None and thought not in _render(tokenizer, answered, generate=False)


def opens_thinking(prompt: str) -> bool:
    """Whether a rendered prompt ends inside `<think>`: the reply goes on with the thought."""
    return prompt.rstrip().endswith(("<think>", "<thinking>"))


def end_tokens(tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's, and those that the model's settings name."""
    own = {tokenizer.eos_token_id} - {None}
    return frozenset(own | set(getattr(tokenizer, "model_end_ids", ())))


def _next_end(tokenizer: Any, prompt: Sequence[Message], answer: str, ends: Collection[int]) -> list[int]:
    """The end token where the template has none: the next turn's first (GLM's `<|user|>`), or the default."""
    turns = (*prompt, Message(role="assistant", content=split_thinking(answer)[1]))
    try:
        whole = _render(tokenizer, turns, generate=False)
        longer = _render(tokenizer, (*turns, Message(role="user", content="next")), generate=False)
    except DataError:
        longer = whole = ""
    if longer.startswith(whole):
        follows = tokenizer(longer[len(whole) :], add_special_tokens=False)["input_ids"][:1]
        if follows and follows[0] in ends:
            return list(follows)
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """A conversation as the text the model continues; a `DataError` where no template takes these turns."""
    return _render(tokenizer, messages, generate=True)


def with_prompt(prompt: Sequence[Message], messages: Sequence[Message]) -> tuple[Message, ...]:
    """A conversation behind a contestant's own prompt; the system turns of both go first, as one."""
    systems = [turn.content for turn in (*prompt, *messages) if turn.role == "system"]
    if not prompt or not any(turn.role == "system" for turn in messages):
        return (*prompt, *messages)
    turns = (turn for turn in (*prompt, *messages) if turn.role != "system")
    return (Message(role="system", content="\n\n".join(dict.fromkeys(systems))), *turns)


def turn_separator(tokenizer: Any) -> str:
    """What stands between an answer and the next question, special tokens left out; empty: not known."""
    marks = "\u2021question", "\u2021answer", "\u2021next"
    question, answer, following = (Message(role="user", content=text) for text in marks)
    answer = answer.model_copy(update={"role": "assistant"})
    try:
        text = _render(tokenizer, (question, answer, following), generate=False)
    except DataError:
        return ""
    between = text.partition(marks[1])[2].partition(marks[2])[0]
    ids = tokenizer(between, add_special_tokens=False)["input_ids"]
    seen = str(tokenizer.decode(ids, skip_special_tokens=True)).lstrip(" ")
    return seen if len(seen.strip()) > 2 else ""  # noqa: PLR2004


def _render(tokenizer: Any, messages: Sequence[Message], *, generate: bool, apart: bool = True) -> str:
    """`apart`: give thinking apart from answers where the template takes it so."""
    if tokenizer.chat_template is None:
        raise DataError("this model has no chat template; name one in the recipe (`model.chat_template`)")
    separates = re.search(r"reasoning_content|\bm\w*(\.|\[.)thinking\b", str(tokenizer.chat_template))
    turns = [_turn(message) if apart and separates else message.as_dict() for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generate))
    except Exception as error:
        reason = first_line(error)
        raise DataError(f"the chat template refuses this conversation: {reason}") from error


def _turn(message: Message) -> dict[str, str]:
    """A turn for a template that takes thinking apart from the answer, by one of two names."""
    thought, visible = split_thinking(message.content) if message.role == "assistant" else (None, "")
    if not thought:
        return message.as_dict()
    return {"role": "assistant", "content": visible, "reasoning_content": thought, "thinking": thought}
