"""What is learned, token by token."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from toolkit.data.chat import answer_ids, encode_conversation, prompt_ids
from toolkit.errors import DataError
from toolkit.types import Message


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    return AutoTokenizer.from_pretrained(tiny_model)


def turn(role: str, content: str) -> Message:
    return Message(role=role, content=content)


def test_only_answers_are_learned_each_with_its_end_token(tokenizer):
    talk = [turn("user", "hi"), turn("assistant", "one"), turn("user", "more"), turn("assistant", "two")]
    encoded = encode_conversation(tokenizer, talk)
    learned = [token for token, mask in zip(encoded.input_ids, encoded.completion_mask, strict=True) if mask]
    assert tokenizer.decode(learned) == "one<|end|>two<|end|>"
    assert encoded.input_ids.count(tokenizer.eos_token_id) == 4
    assert not encoded.truncated


def test_truncation_is_told_and_keeps_the_start(tokenizer):
    talk = [turn("user", "hi"), turn("assistant", "a long answer")]
    whole, cut = encode_conversation(tokenizer, talk), encode_conversation(tokenizer, talk, 12)
    assert cut.truncated
    assert cut.input_ids == whole.input_ids[:12]


def test_training_and_asking_see_the_same_prompt(tokenizer):
    talk = [turn("user", "hi"), turn("assistant", "one")]
    asked = prompt_ids(tokenizer, talk[:1])
    assert encode_conversation(tokenizer, talk).input_ids == asked + answer_ids(tokenizer, talk[:1], "one")


def test_a_template_that_rewrites_earlier_turns_is_refused(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}"
    )
    with pytest.raises(DataError, match="no mask can be trusted"):
        encode_conversation(tokenizer, [turn("user", "hi"), turn("assistant", "one")])
    tokenizer.chat_template = None
    with pytest.raises(DataError, match=r"model\.chat_template"):
        encode_conversation(tokenizer, [turn("user", "hi"), turn("assistant", "one")])
