"""What comes out of `safe_markdown` has no active construct in any Markdown parser, and loses no text."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.apps.hostile import HOSTILE
from toolkit.arena.markdown import _PARSER, LIMIT, safe_markdown

EAGER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
"""A parser that passes HTML through, as the worst page would."""

MARKUP = st.text(
    alphabet=st.one_of(st.sampled_from("<>[]()!*_`~#|$\\-+:&;\"'= \n\t1.ax/@"), st.characters(codec="utf-8")),
    max_size=300,
)


def active(markdown: str) -> list[str]:
    tokens = EAGER.parse(markdown)
    every = [inner for token in tokens for inner in [token, *(token.children or [])]]
    return [t.type for t in every if t.type in ("html_block", "html_inline", "image", "link_open")]


@given(MARKUP)
@example("[a](b)\n\n[a]: <javascript:x>")
def test_nothing_active_comes_out(answer: str) -> None:
    assert active(safe_markdown(answer)) == []


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_answers_come_out_harmless_and_soon(answer: str) -> None:
    started = time.process_time()
    assert active(safe_markdown.__wrapped__(answer)) == []
    assert time.process_time() - started < 20  # a guard against catastrophic growth, not a measurement


@pytest.mark.parametrize(
    "unit", ["x", "a.", "\\(", "\\[\n", "$", "$$\n", "[", "](", "> ", "* ", "_x", ":x", "@", "`", "|a"]
)
def test_time_grows_no_faster_than_the_answer(unit: str) -> None:
    started = time.process_time()
    safe_markdown(unit * (LIMIT // len(unit)))
    assert time.process_time() - started < 60  # linear takes one second or two, quadratic many minutes


@given(st.lists(st.text(alphabet="abcdefgh", min_size=1, max_size=8), min_size=1, max_size=30), st.randoms())
def test_no_word_is_lost(words: list[str], random) -> None:
    glue = [
        " ",
        "\n",
        "\n\n",
        " <b> ",
        " * ",
        "\n- ",
        "\n> ",
        " | ",
        "\n# ",
        " $ ",
        " `",
        " ![",
        "](",
        ") ",
        "\n1. ",
    ]
    answer = "".join(word + random.choice(glue) for word in words)
    shown = safe_markdown(answer)
    assert all(word in shown for word in words)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("Customer: Ann\nOrder: none", "Customer\\: Ann\\\nOrder\\: none"),
        ("# Title", "**Title**"),
        ("a\n\n```python\nx = 1\n```", "a\n\n```python\nx = 1\n```"),
        ("```mermaid\nx\n```", "```text\nx\n```"),
        ("$5 and $10", "\\$5 and \\$10"),
        ("so \\(x^2\\)", "so $x^2$"),
        ("$$\na\n= b\n$$", "$$\na\n= b\n$$"),
        ("$\\href{x}{y}$", "`$\\href{x}{y}$`"),
        ("![cat](http://a.b/c.png)", "\\!\\[cat\\]\\(`http://a.b/c.png`\\)"),
        ("| a | b |\n| - | - |\n| `x\\|y` | 2 |", "| a | b |\n| --- | --- |\n| `x\\|y` | 2 |"),
        ("1. a\n2. b\n   - c", "1. a\n2. b\n   - c"),
        ("> " * 60 + "deep", "\\> " * 60 + "deep"),
        (" \n", ""),
    ],
)
def test_layout_is_kept(answer: str, shown: str) -> None:
    assert safe_markdown(answer) == shown


@pytest.mark.parametrize(
    "answer",
    [
        "4*4=16 and 3*3=9",
        "(3*4)*(5*6), then 5 *4 = 20 and 3* 2 = 6",
        "x**2 + y**2, 2 * 3 * 4, __init__ and _id_ and ____",
        "It costs $5, so 2*$5=$10; from $20 to 30$, $5 and ($3)$, US$5 or A$6, $20 - 30$",
        "he paid $a lot$ for it; $$5 and $$10",
        "5\n+ 3\n- 2\n* 4\n> 1\n= 8",
        "2) x\n3) y\n\n1. a\n3. b",
        "| a | b |\n|---|---|\n| 1 | 2 | 3 |",
        "C:\\dir\\new and \\{ \\frac{1}{2}",
        "&lt;b&gt; &amp; <b> [a](b) [1]: c ![d](e) <f://g>",
        "<<16-3=13>>13 eggs, #1, 50% ~5 ~~6",
        "*********************",
    ],
)
def test_what_is_not_layout_is_shown_as_written(answer: str) -> None:
    assert characters(visible(answer)) == characters(answer)


def characters(text: str) -> Counter[str]:
    return Counter(text.replace("\u2060", "").translate({ord(space): None for space in " \n"}))


def visible(answer: str) -> str:
    """The text that a browser shows of the Markdown made of an answer."""
    found: list[str] = []
    for token in EAGER.parse(safe_markdown(answer)):
        if token.type == "list_item_open":
            found.append(f"{token.info}." if token.info else "")
        found.append("".join(inner.content for inner in token.children or ()) or token.content)
    return "".join(found)


def test_real_arithmetic_loses_no_character(shared_data: Path) -> None:
    file = shared_data / "arena_gsm8k" / "model_solutions.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    answers = [side["solution"] for row in rows for side in row.values() if isinstance(side, dict)]
    assert len(answers) > 2000
    assert [answer for answer in answers if characters(visible(answer)) != characters(answer)] == []


def test_real_answers_lose_the_marks_of_their_layout_and_nothing_else(shared_data: Path) -> None:
    """Of 329 answers 36 differ: by bullets, bold, headings and fences that are shown as such."""
    rows = [json.loads(line) for line in (shared_data / "battles_llmfao" / "pairs_6prompts.jsonl").open()]
    answers = {str(row[side]) for row in rows for side in ("result_x", "result_y") if row[side].strip()}
    assert len(answers) > 300
    for answer in answers:
        lost = characters(answer) - characters(visible(answer))
        assert lost["*"] == marks(answer)["*"], answer
        fences = " ".join(line for line in answer.splitlines() if line.startswith("```"))
        assert not set(lost) - set("*#->`\u00a0\t") - set(fences), answer


def marks(answer: str) -> Counter[str]:
    """The asterisks that are bullets, bold or italics of the answer's layout."""
    found: Counter[str] = Counter()
    for token in _PARSER.parse(answer):
        for each in [token, *(token.children or ())]:
            if each.type in ("list_item_open", "strong_open", "strong_close", "em_open", "em_close", "hr"):
                found.update(each.markup)
    return found


def test_a_very_long_answer_is_cut_and_marked() -> None:
    assert safe_markdown("y" * (LIMIT + 7)).endswith("*(7 more characters are not shown)*")
