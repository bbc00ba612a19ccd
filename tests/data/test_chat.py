"""What is learned, token by token."""

from __future__ import annotations

from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer

from toolkit.data.chat import answer_ids, encode_conversation, encode_turns, prompt_ids, render
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


def test_truncation_is_reported_and_keeps_the_start(tokenizer):
    talk = [turn("user", "hi"), turn("assistant", "a long answer")]
    whole, cut = encode_conversation(tokenizer, talk), encode_conversation(tokenizer, talk, 12)
    assert cut.truncated
    assert cut.input_ids == whole.input_ids[:12]


def test_training_and_asking_see_the_same_prompt(tokenizer):
    talk = [turn("user", "hi"), turn("assistant", "one")]
    requested = prompt_ids(tokenizer, talk[:1])
    assert encode_conversation(tokenizer, talk).input_ids == requested + answer_ids(
        tokenizer, talk[:1], "one"
    )


def test_a_template_that_rewrites_earlier_turns_is_refused(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}"
    )
    with pytest.raises(DataError, match="does not show the answer"):
        encode_conversation(tokenizer, [turn("user", "hi"), turn("assistant", "one")])
    tokenizer.chat_template = None
    with pytest.raises(DataError, match=r"model\.chat_template"):
        encode_conversation(tokenizer, [turn("user", "hi"), turn("assistant", "one")])


TEMPLATES = Path(trl.__file__).parent / "chat_templates"
PICTURES = {"llava_next", "idefics3", "smolvlm"}
"""They take content in parts only."""
SHIPPED = sorted(
    file.stem
    for file in TEMPLATES.glob("*.jinja")
    if "training" not in file.stem and file.stem not in PICTURES
)


def learned_texts(tokenizer, part) -> list[str]:
    """The runs of learned tokens, decoded."""
    texts, run = [], []
    for token, mask in [*zip(part.input_ids, part.completion_mask, strict=True), (0, 0)]:
        if mask:
            run.append(token)
        elif run:
            texts.append(tokenizer.decode(run))
            run = []
    return texts


@pytest.mark.parametrize("thought", [False, True])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_template_trains_on_several_turns(tiny_model, name, thought):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
    start = "<think>\nlet me see, {}\n</think>\n\n" if thought else ""
    talk = [
        turn("user", "first question"), turn("assistant", start.format("one") + "first answer."),
        turn("user", "second question"), turn("assistant", start.format("two") + "second answer."),
    ]  # fmt: skip
    parts = encode_turns(tokenizer, talk)
    texts = [text for part in parts for text in learned_texts(tokenizer, part)]
    assert len(texts) == 2, parts
    for text, reply, thinking in zip(texts, ("first answer.", "second answer."), ("one", "two"), strict=True):
        assert text.count(reply) == 1
        assert text.count(f"let me see, {thinking}") == thought
        assert "question" not in text
    last = prompt_ids(tokenizer, talk[:3])
    assert parts[-1].input_ids[: len(last)] == last  # as the model is asked
    if "<think>" in render(tokenizer, talk[:1]) or not thought:
        assert not any(text.lstrip().startswith("<think>\n<think>") for text in texts)


def test_turns_are_in_one_sequence_where_the_template_only_appends_and_apart_where_it_rewrites(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    talk = [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]
    for name, end, count in (
        ("llama3", "<|eot_id|>", 1), ("gemma", "<end_of_turn>", 1), ("phi3", "<|end|>", 1),
        ("qwen3", "<|im_end|>", 2), ("deepseekv3", "<\uff5cend▁of▁sentence\uff5c>", 2),
    ):  # fmt: skip
        tokenizer.add_special_tokens({"eos_token": end})
        tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
        assert len(encode_turns(tokenizer, talk)) == count, name


def test_thinking_is_learned_in_the_template_s_own_format(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    thinking = "<think>\nwhy\n</think>\n\nbecause"
    expected = {
        "qwen3": "<think>\nwhy\n</think>\n\nbecause",
        "gptoss": "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>",
        "glm4moe": "\n<think>why</think>\nbecause",
        "deepseek_r1_distill": "why\n</think>\n\nbecause",
        "nemotron_3_nano": "why\n</think>\n",
        "llama3": "<think>\nwhy\n</think>\n\nbecause",
    }
    for name, text in expected.items():
        tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
        assert tokenizer.decode(answer_ids(tokenizer, [turn("user", "?")], thinking)).startswith(text), name


def test_each_of_several_end_tokens_ends_an_answer(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens(["<|eot|>", "<|user|>"], special_tokens=True)
    eot, user = tokenizer.convert_tokens_to_ids(["<|eot|>", "<|user|>"])
    tokenizer.model_end_ids = (eot, user)
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
        "{% if m.role == 'assistant' %}<|eot|>\n{{ eos_token if loop.last }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )  # Phi-3's manner: the model stops at its end of turn, and the end token is the text's
    talk = [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]
    (part,) = encode_turns(tokenizer, talk)
    assert learned_texts(tokenizer, part) == ["b<|eot|>", "d<|eot|>"]
    tokenizer.chat_template = tokenizer.chat_template.replace("<|eot|>\n{{ eos_token if loop.last }}", "")
    (part,) = encode_turns(tokenizer, talk)  # GLM's manner: the next turn's beginning ends the answer
    assert learned_texts(tokenizer, part) == ["b<|user|>", "d<|user|>"]
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ m.content }}", "{{ m.content if loop.last else m.content.split('</think>')[-1] }}"
    )
    parts = encode_turns(tokenizer, [talk[0], turn("assistant", "<think>t</think>b"), *talk[2:]])
    assert [learned_texts(tokenizer, part)[-1] for part in parts] == [
        "<think>t</think>b<|user|>",
        "d<|user|>",
    ]


def test_turns_that_are_not_to_be_learned_are_context(tokenizer):
    talk = [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]
    (part,) = encode_turns(tokenizer, talk, unlearned=(1,))
    assert learned_texts(tokenizer, part) == ["d<|end|>"]
    assert "b" in tokenizer.decode(part.input_ids)
