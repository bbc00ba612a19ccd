"""Files are whole or not there, logs lose at most a torn last line, and errors say where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit import io
from toolkit.errors import DataError
from toolkit.types import Message, Score, Vote

line = st.text(max_size=30)
votes = st.lists(
    st.builds(
        Vote,
        example_id=line,
        model_a=line,
        model_b=line,
        outcome=st.sampled_from(["a", "b", "tie", "both_bad"]),
        voter=line,
        category=st.none() | line,
        cast_at=st.none() | st.floats(0, 2e9),
    ),
    max_size=6,
)


def vote(voter: str) -> Vote:
    return Vote(model_a="x", model_b="y", outcome="a", voter=voter)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@given(first=votes, second=votes)
def test_what_was_appended_is_read(folder, first, second):
    file = folder / "log.jsonl"
    file.unlink(missing_ok=True)
    io.append(file, first)
    io.append(file, second)
    assert list(io.read(file, Vote)) == [*first, *second]


@given(rows=votes)
def test_what_was_written_is_read(folder, rows):
    io.write(folder / "whole.jsonl", rows)
    assert list(io.read(folder / "whole.jsonl", Vote)) == rows


@given(rows=votes, more=votes, cut=st.integers(0, 10_000))
def test_a_crash_at_any_byte_loses_no_more_than_the_line_it_was_writing(folder, rows, more, cut):
    file = folder / "torn.jsonl"
    io.write(file, rows)
    whole = file.read_bytes()
    torn = whole[: min(cut, len(whole))]
    file.write_bytes(torn)
    kept = rows[: torn.count(b"\n")]
    assert list(io.read(file, Vote)) == kept
    io.append(file, more)
    assert list(io.read(file, Vote)) == [*kept, *more]


def test_a_torn_line_longer_than_a_block_is_dropped(tmp_path):
    file = tmp_path / "log.jsonl"
    io.append(file, [vote("ann")])
    with file.open("a", encoding="utf-8") as log:
        log.write('{"voter": "' + "x" * 20_000)
    io.drop_torn_line(file)
    assert list(io.read(file, Vote)) == [vote("ann")]


def test_a_log_that_is_all_torn_becomes_empty(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text("{" * 10_000)
    io.drop_torn_line(file)
    assert file.read_bytes() == b""
    io.drop_torn_line(tmp_path / "missing.jsonl")


def test_a_line_torn_inside_a_character_is_left_out(tmp_path):
    file = tmp_path / "log.jsonl"
    io.append(file, [vote("ann")])
    with file.open("ab") as log:
        log.write('{"voter": "é'.encode()[:-1])
    assert list(io.read(file, Vote)) == [vote("ann")]
    io.append(file, [vote("bob")])
    assert list(io.read(file, Vote)) == [vote("ann"), vote("bob")]


def test_line_separators_inside_a_text_do_not_split_it(tmp_path):
    file = tmp_path / "log.jsonl"
    rows = [vote("one\u2028two\u0085three\rfour\x1cfive\nsix")]
    io.append(file, rows)
    assert list(io.read(file, Vote)) == rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"model_a": "x", "model_b": "y"}\n', r"log\.jsonl:2: outcome: Field required"),
        ('{"model_a": "x", "model_b": "y", "outcome": "c"}\n', r"log\.jsonl:2: outcome: Input should be"),
        ('{"model_a": 1}\n', r"log\.jsonl:2: model_a: Input should be a valid string"),
        (
            '{"model_a": "x", "model_b": "y", "outcome": "a", "more": 1}\n',
            r"log\.jsonl:2: more: Extra inputs",
        ),
        ("not json\n", r"log\.jsonl:2: not JSON: Expecting value at column 1"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, text, expected):
    file = tmp_path / "log.jsonl"
    file.write_text(vote("ann").model_dump_json() + "\n" + text)
    with pytest.raises(DataError, match=expected):
        list(io.read(file, Vote))


def test_empty_lines_are_passed_over_and_counted(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text("\n\n" + vote("ann").model_dump_json() + "\n \n")
    assert [number for number, _ in io.read_lines(file)] == [3]


def test_a_file_made_elsewhere_may_end_without_a_newline_and_begin_with_a_mark(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffone\r\n\r\ntwo".encode())
    assert [(number, line.strip()) for number, line in io.read_lines(file, ours=False)] == [
        (1, "one"),
        (3, "two"),
    ]


def test_files_that_cannot_be_read_are_named(tmp_path):
    missing, binary = tmp_path / "missing.jsonl", tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\n")
    for file, expected in (
        (missing, "no such file"),
        (tmp_path, "Is a directory"),
        (binary, "not UTF-8 text"),
    ):
        with pytest.raises(DataError, match=expected) as raised:
            list(io.read(file, Vote))
        assert str(file) in str(raised.value)


def test_json_files_that_cannot_be_read_are_named(tmp_path):
    file = tmp_path / "x.json"
    with pytest.raises(DataError, match=r"x\.json: no such file"):
        io.read_json(file)
    file.write_text('{\n "a": }')
    with pytest.raises(DataError, match=r"x\.json:2: not JSON: Expecting value"):
        io.read_json(file)
    file.write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"x\.json: not UTF-8"):
        io.read_json(file)
    with pytest.raises(DataError, match="Is a directory"):
        io.read_json(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1,\n "b": {"a": 2, "a": 3}}', "2: the key 'a' is there twice"),
        ('{"a": 1,\n"b": NaN}', "2: NaN is not a finite number"),
        ("[1,\n-Infinity]", "2: -Infinity is not"),
        ("[1,\n\n1e999]", "3: 1e999 is not"),
        ('[1,\n"\\ud83d"]', "2: half of a surrogate pair"),
        ('[1,\n{"\\uDC00": 1}]', "2: half of a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_ambiguous_json_is_refused_by_line(tmp_path, text, problem):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(DataError, match=problem):
        io.read_json(file, finite=True)


def test_what_only_looks_ambiguous_is_read():
    text = '{"a": "NaN, \\"a\\": 1e999", "b": [{"a": 1}, {"a": 2}], "c": "\\ud83d\\ude00", "d": 1e5}'
    assert io.parse_json(text, "x")["c"] == "\U0001f600"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('a,b\n1,2\n"3,4\n5,6\n', r"x\.csv:3: not CSV: a quote is opened here"),
        ('a,b\n"1,2\n"3,4"\n', r"x\.csv:2: not CSV"),
        ("a,b,a\n1,2,3\n", r"x\.csv:1: the column a is there twice"),
        ('a,b\n"x\ny",2\n3\n', r"x\.csv:4: 1 cells"),
    ],
)
def test_broken_csv_is_refused_by_line(tmp_path, text, problem):
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=problem):
        list(io.read_csv(file))


def test_json_comes_back_as_it_was(tmp_path):
    file = tmp_path / "deep" / "x.json"
    io.write_json(file, {"é": [1, None, 0.5]})
    assert io.read_json(file) == {"é": [1, None, 0.5]}
    io.write_json(file, Score(contestant="c", metric="m", value=1.0, n=2))
    assert io.read_json(file)["contestant"] == "c"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    file = tmp_path / "x.txt"
    io.write_text(file, "old")
    monkeypatch.setattr(
        os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space left"):
        io.write_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


KILLED = """
import os, sys
from pathlib import Path
from toolkit import io
from toolkit.types import Vote

def rows():
    for number in range(1000):
        if number == 500:
            os.kill(os.getpid(), 9)
        yield Vote(model_a="x", model_b="y", outcome="a", voter=str(number))

{call}
"""


@pytest.mark.parametrize(
    ("call", "left"),
    [("io.append(Path(sys.argv[1]), rows())", 500), ("io.write(Path(sys.argv[1]), rows())", 0)],
)
def test_killed_between_two_records(tmp_path, call, left):
    """An appended log has every record before the kill; a replaced file is not there at all."""
    file = tmp_path / "log.jsonl"
    script = textwrap.dedent(KILLED).replace("{call}", call)
    root = Path(__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", script, str(file)], cwd=root, check=False)
    assert killed.returncode == -9
    found = list(io.read(file, Vote)) if file.exists() else []
    assert [row.voter for row in found] == [str(number) for number in range(left)]


def test_two_writers_of_one_file_leave_one_of_the_two_whole(tmp_path):
    file = tmp_path / "x.txt"
    script = (
        "import sys; from pathlib import Path; from toolkit import io\n"
        "for _ in range(50): io.write_text(Path(sys.argv[1]), sys.argv[2] * 100_000)"
    )
    root = Path(__file__).parents[1]
    writers = [subprocess.Popen([sys.executable, "-c", script, str(file), mark], cwd=root) for mark in "ab"]
    while any(writer.poll() is None for writer in writers):
        if file.exists():
            assert file.read_text() in ("a" * 100_000, "b" * 100_000)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [file]


def test_several_processes_append_to_one_log(tmp_path):
    """Records of several writers stand in one log line by line, none lost, none cut."""
    log, many = tmp_path / "log.jsonl", 60
    script = (
        "import sys; from pathlib import Path\n"
        "from toolkit import io; from toolkit.types import Message\n"
        f"for n in range({many}):\n"
        "    said = Message(role='user', content=sys.argv[2] + str(n) + 'x' * 9000)\n"
        "    io.append(Path(sys.argv[1]), [said])"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(log), name], cwd=Path(__file__).parents[1])
        for name in "abc"
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    reply = [message.content.rstrip("x") for message in io.read(log, Message)]
    assert sorted(reply) == sorted(f"{name}{n}" for name in "abc" for n in range(many))


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    with io.new_folder(tmp_path / "new") as beside:
        io.write_text(beside / "a.txt", "a")
        assert not (tmp_path / "new").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "a"
    with pytest.raises(ZeroDivisionError), io.new_folder(tmp_path / "broken") as beside:
        (beside / "a.txt").write_text(str(1 / 0))
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_files_and_folders_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        io.write_text(tmp_path / "file", "x")
        with io.new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.lists(JSON, max_size=5), chunk=st.integers(1, 40), indent=st.sampled_from([None, 1]))
def test_a_json_list_is_read_in_pieces_as_it_is_whole(tmp_path, monkeypatch, values, chunk, indent):
    monkeypatch.setattr(io, "CHUNK", chunk)
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(values, indent=indent), encoding="utf-8")
    assert list(io.read_json_list(file)) == values
    file.write_text(json.dumps(values)[:-1])
    with pytest.raises(DataError):
        list(io.read_json_list(file))


@pytest.mark.parametrize(
    "text",
    [
        "[1,]",
        "[1 2]",
        "[1] 2",
        '{"a": 1}',
        "",
        "[NaN]",
        '[{"a": 1, "a": 2}]',
        "[,1]",
        "[1,,2]",
        '["\\ud800"]',
    ],
)
def test_what_is_no_json_list_is_refused(tmp_path, text):
    file = tmp_path / "rows.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"rows\.json"):
        list(io.read_json_list(file))
