"""Chat templates and loss masks: which tokens a model sees, and which of them it learns.

The mask is found by rendering the conversation turn by turn and comparing, so it holds for any template
that only ever appends, with or without generation marks. The end-of-turn token after an answer is learned:
a model that never sees it in the loss never stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import DataError
from toolkit.types import Message


@dataclass(frozen=True)
class Encoded:
    """One row as the model gets it."""

    input_ids: list[int]
    completion_mask: list[int]
    """1 for the tokens that are learned: every answer with its end token; 0 elsewhere. Same length."""
    truncated: bool
    """Whether tokens beyond the maximum length were cut off."""


def encode_conversation(
    tokenizer: Any, messages: Sequence[Message], max_length: int | None = None
) -> Encoded:
    """Token ids and loss mask of a conversation.

    Args:
        tokenizer: with a chat template.
        messages: turns; all assistant turns are learned.
        max_length: tokens kept, from the start.

    Raises:
        DataError: the template does not build conversations by appending, so no mask can be trusted.
    """
    ids: list[int] = []
    mask: list[int] = []
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        before = prompt_ids(tokenizer, messages[:index])
        answer = answer_ids(tokenizer, messages[:index], message.content)
        if before[: len(ids)] != ids:
            raise DataError(
                "the chat template changes earlier turns when later ones are added: no mask can be trusted"
            )
        mask += [0] * (len(before) - len(ids)) + [1] * len(answer)
        ids = before + answer
    cut = max_length if max_length is not None else len(ids)
    return Encoded(ids[:cut], mask[:cut], truncated=len(ids) > cut)


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation up to where the assistant starts to answer."""
    return list(tokenizer(render(tokenizer, messages), add_special_tokens=False)["input_ids"])


def answer_ids(tokenizer: Any, prompt: Sequence[Message], answer: str) -> list[int]:
    """Token ids of an answer, its end-of-turn token last."""
    before = render(tokenizer, prompt)
    whole = tokenizer.apply_chat_template(
        [message.as_dict() for message in (*prompt, Message(role="assistant", content=answer))],
        tokenize=False,
    )
    if not whole.startswith(before):
        raise DataError(
            "the chat template's answer does not begin as its generation prompt does: no mask can be trusted"
        )
    ids = list(tokenizer(whole[len(before) :], add_special_tokens=False)["input_ids"])
    return until_end(ids, tokenizer.eos_token_id)


def until_end(ids: list[int], end: int | None) -> list[int]:
    """Up to and including the last end token: what a template puts after it (a newline) is never generated.

    Without one, the end token is added: it must be learned.
    """
    if end is None:
        return ids
    last = len(ids) - 1 - ids[::-1].index(end) if end in ids else None
    return ids[: last + 1] if last is not None else [*ids, end]


def render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """A conversation as the text the model is asked to continue.

    Raises:
        DataError: the tokenizer has no chat template, or the template refuses these turns.
    """
    if tokenizer.chat_template is None:
        raise DataError("this model has no chat template; name one in the recipe (`model.chat_template`)")
    try:
        return str(
            tokenizer.apply_chat_template(
                [message.as_dict() for message in messages], tokenize=False, add_generation_prompt=True
            )
        )
    except Exception as error:
        raise DataError(
            f"the chat template refuses this conversation: {str(error).splitlines()[0]}"
        ) from error
