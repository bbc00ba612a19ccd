"""What comes out of `safe_markdown` has no active construct in any Markdown parser, and loses no text."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.apps.hostile import HOSTILE
from toolkit.arena.markdown import LIMIT, safe_markdown

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
        ("$\\href{x}{y}$", "`\\href{x}{y}`"),
        ("![cat](http://a.b/c.png)", "\\[image\\: cat (`http://a.b/c.png`)\\]"),
        ("| a | b |\n| - | - |\n| `x\\|y` | 2 |", "| a | b |\n| --- | --- |\n| `x\\|y` | 2 |"),
        ("1. a\n2. b\n   - c", "1. a\n2. b\n   - c"),
        ("> " * 60 + "deep", "\\> " * 60 + "deep"),
        (" \n", "*(an empty answer)*"),
    ],
)
def test_layout_is_kept(answer: str, shown: str) -> None:
    assert safe_markdown(answer) == shown


def test_a_very_long_answer_is_cut_and_says_so() -> None:
    assert safe_markdown("y" * (LIMIT + 7)).endswith("*(7 more characters are not shown)*")
