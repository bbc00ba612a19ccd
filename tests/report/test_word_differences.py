"""Word-level differences lose nothing and mark only what differs."""

from hypothesis import given
from hypothesis import strategies as st

from toolkit.report.examples import MAX_CHARS, mark_differences

texts = st.text(alphabet="ab \n", max_size=60)


@given(texts, texts)
def test_the_pieces_are_the_text_again(text, other):
    assert mark_differences(text, other).text == text


@given(texts, texts)
def test_struck_pieces_complete_the_other_text(text, other):
    found = mark_differences(text, other)
    theirs = "".join(piece for kind, piece in found.pieces if kind != "only")
    if any(kind != "same" for kind, _ in found.pieces):
        assert "".join(theirs.split()) == "".join(other.split())  # white space alone is never struck


@given(texts)
def test_a_text_does_not_differ_from_itself(text):
    found = mark_differences(text, text)
    assert found.shared == 1
    assert all(kind == "same" for kind, _ in found.pieces)


def test_one_changed_word():
    assert mark_differences("a red hat", "a blue hat").pieces == (
        ("same", "a "),
        ("only", "red"),
        ("missing", "blue"),
        ("same", " hat"),
    )


def test_texts_with_little_in_common_are_left_unmarked():
    found = mark_differences("one two three four", "five six seven four")
    assert found.pieces == (("same", "one two three four"),)
    assert 0 < found.shared < 0.4


def test_a_very_long_text_is_cut_and_marked():
    found = mark_differences("x" * (MAX_CHARS + 5), "y")
    assert found.cut == 5
    assert len(found.text) == MAX_CHARS
