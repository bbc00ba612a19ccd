"""A bounded dose of fuzzing for every reader, and what longer campaigns have found, held fixed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS

VOTE = b"model_a,model_b,winner,tstamp\nx,y,tie,1\n"
TALK = b'\x01{"model_a": "x", "model_b": "y", "winner": "tie", "conversation_a": %s, "conversation_b": [%s]}'
TURN = b'{"role": "user", "content": "q"}'

FOUND = [
    ("recipe", b"name: x\x00"),
    ("recipe", b"[" * 5000),
    ("dataset", b"d\n\xff"),
    ("dataset", b"c\n\xff,b\n1,2\n"),
    ("dataset", b"c\na,b\n" + b"1" * 200_000 + b",2\n"),
    ("dataset", b"a\n" + b"[" * 100_000),
    ("dataset", b"a\n" + b'{"text": ' + b"1" * 5000 + b"}"),
    ("dataset", b"a" + b"x == (" * 500 + b'\n{"text": "t"}'),
    ("dataset", b'ax == "\x00"\n{"text": "t"}'),
    ("votes", b"\x00" + VOTE.replace(b"\nx", b"\nz")),  # the same file name again, with another row
    ("votes", b"\x00" + VOTE.replace(b",1\n", b",noon\n")),
    ("votes", b"\x00" + VOTE.replace(b",1\n", b",inf\n")),
    ("votes", b"\x00winner,model_a,model_b,winner\ntie,x,y,tie\n"),
    ("votes", TALK % (b'[{"role": "user"}, 1]', TURN)),
    ("votes", TALK % (b'[{"role": "me", "content": "q"}, %s]' % TURN, TURN)),
    ("votes", b"\x01" + b"[" * 100_000 + b"\n"),
    ("judge", b"[" * 100_000),
]
"""(target, input) that once ended in something else than a result or a clear refusal."""


@pytest.mark.parametrize(("name", "data"), FOUND, ids=lambda value: str(value)[:40])
def test_what_was_found_stays_fixed(name: str, data: bytes):
    TARGETS["votes"](b"\x00" + VOTE)
    TARGETS[name](data)


def damaged(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A well-formed input with a part of it replaced by bytes of any kind, or by a part of another one."""
    part = st.one_of(st.binary(max_size=12), st.sampled_from(seeds).map(lambda seed: seed[: len(seed) // 2]))

    def splice(seed: bytes, start: int, length: int, new: bytes) -> bytes:
        start %= len(seed) + 1
        return seed[:start] + new + seed[start + length :]

    return st.builds(splice, st.sampled_from(seeds), st.integers(0, 4096), st.integers(0, 40), part)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_read_or_refused(name: str):
    @settings(max_examples=60)
    @given(damaged(SEEDS[name]))
    def holds(data: bytes) -> None:
        TARGETS[name](data)

    for seed in SEEDS[name]:
        TARGETS[name](seed)
    holds()
