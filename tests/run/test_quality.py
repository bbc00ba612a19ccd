# ruff: noqa: RUF001 - letters of other scripts are meant
"""What `check` finds in the contents of rows, and the texts like it that it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit.data.formats import convert
from toolkit.recipe.loader import forbidden
from toolkit.run.checks.quality import Quality

PROMPT = "How do I mend the lamp on my desk?"


def codes(rows: list[dict[str, Any]], *, trained: bool = True) -> set[str]:
    """The codes of what is found in rows."""
    quality = Quality("train", ["<|im_end|>"], trained=trained)
    for number, row in enumerate(rows, 1):
        quality.add(f"train.jsonl:{number}", row, convert(row, "auto", str(number)))
    return {finding.code for finding in quality.findings()}


def answered(text: str) -> set[str]:
    return codes([{"prompt": PROMPT, "completion": text}])


LOOP = "Turn it left " + "and then wait a bit " * 20

FOUND = {
    "mojibake": [
        *("The cafÃ© opens at nine.", "Donâ€™t wait.", "Слово РїСЂРёРІРµС‚ значит.", "锟斤拷 it reads."),
        *("The word is Ð¿Ñ€Ð¸Ð²ÐµÑ‚ there.", "Bake at 180Â°C.", "Well done ðŸ˜€ now."),
        *("It is 10 â‚¬ each.", "ã“ã‚“ã«ã¡"),
    ],
    "refusal": [
        *("I'm sorry, but I can't assist with that.", "I must decline to answer.", "Sorry, I won't do that."),
        *("My guidelines prevent me from answering.", "No puedo ayudar con eso.", "很抱歉,我不能回答。"),
        *("Es tut mir leid, aber ich kann dabei nicht helfen.", "I’m unable to fulfill this request."),
        "I won't be able to help.",
    ],
    "boilerplate": [
        *("As an AI language model, I think so.", "As of my last update in 2021, it is open."),
        *("I was trained by OpenAI, and think so.", "My training data only goes up to 2021, so perhaps."),
        *("I am ChatGPT, and think so.", "I do not have personal opinions, but it is."),
    ],
    "repetition": [LOOP, LOOP[:-7], LOOP + " That is how it is done, and nothing else is needed at all."],
    "placeholder": ["TODO", "Dear [Your Name], we thank you.", "Error: 429 Too Many Requests", "..."],
    "secret": ["Use github_pat_11ABCDEFG0123456789_abcdefghij now.", "Use glpat-abcdefghij0123456789 now."],
}
PLAIN = [
    *("São Paulo à vista, Âmbar e NÃO.", "Größe Ä3, «\u00a0oui\u00a0»", "Сколько? Двадцать пять рублей."),
    *("### Instructions for use\n1. Open it.", "I am Claude, your neighbour.", "O château é lá â direita."),
    *("A cow cannot fly, since it is heavy.", "I'm sorry to hear that; turn it off and on.", "我能帮你。"),
    *("No, that can't be mended at home.", "An AI language model predicts the next word."),
    *(
        "| n | n² |\n" + "| --- | --- |\n" * 30 + "| 1 | 1 |",
        "=" * 300,
        "ha " * 20 + "ha",
        "Write `Dear [Your Name]` on top.",
    ),
    *("Log in with `sk-...` as the key.", "https://example.org/a:b@c", "a, b, c, d, e, f, g, h, i, j, k"),
]


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, texts in FOUND.items() for text in texts])
def test_a_spoilt_answer_is_found(code: str, text: str):
    assert code in answered(text)


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_answer_is_left_alone(text: str):
    assert answered(text) == set()


def pairs(**columns: Any) -> list[dict[str, Any]]:
    """Enough pairs, whose answers are as long and all different, with more columns."""
    made = []
    for n in range(24):
        reply = {"chosen": f"take part {n + 100}", "rejected": f"take tool {n + 100}"}
        made.append({"prompt": f"what mends number {n}?", **reply, **columns})
    return made


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (pairs(), None),
        (pairs(scores=[8, 2]), None),
        (pairs(scores=[2, 8]), "swapped"),
        (pairs(margin=-1.5), "swapped"),
        (pairs(chosen_score=2, rejected_score=8), "swapped"),
        (pairs(chosen_score=2, rejected_score=2), "same-score"),
        (pairs(chosen_score=[1], rejected_score={"a": 2}), None),
        (pairs(rejected="I do not know."), "one-answer"),
        (pairs(chosen="I do not know."), "one-answer"),
    ],
)
def test_sides_of_pairs(rows: list[dict[str, Any]], code: str | None):
    found = codes(rows) - {"length-bias"}
    assert found == ({code} if code else set())


def test_a_held_out_question_with_two_references():
    rows = [{"prompt": PROMPT, "completion": text} for text in ("a", "b")]
    assert codes(rows, trained=False) == {"references-differ"}
    assert codes([rows[0], dict(rows[0])], trained=False) == {"rows-double"}


KEYS = [
    *("api_key", "X-Api-Key", "apiKey", "Authorization", "proxy-authorization", "hf_token", "access-token"),
    *("password", "db_password", "client_secret", "private-key", "Cookie", "credential", "token"),
]
NO_KEYS = ["max_tokens", "tokenizer", "eos_token", "pad_token", "key_env", "prompt_tokens", "top_k", "user"]
SECRETS = [
    *("sk-proj-abcdefghijklmnopqrstuvwxyz", "hf_abcdefghijklmnopqrstuvwxyz", "AKIAABCDEFGHIJKLMNOP"),
    *("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "Bearer abcdef1234567890abcdef", "npm_" + "a" * 36),
    *("https://joe:hunter22@example.org/v1", "https://example.org/v1?api_key=abc", "xoxb-1234567890-abc"),
]


def test_secrets_in_recipes_by_their_names_and_forms():
    assert [key for key in KEYS if not forbidden({"parameters": {"headers": {key: "abc"}}})] == []
    assert [key for key in NO_KEYS if forbidden({"parameters": {key: "abc"}})] == []
    assert [text for text in SECRETS if not forbidden({"parameters": {"user": text}})] == []
    assert forbidden({"base": "sk-learn/model", "data": {"a": {"source": "hf_data/x.jsonl"}}}) == []
