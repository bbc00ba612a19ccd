"""Attacks on who votes: made-up cookies, foreign pages, forged proxy headers, at the handshake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import sqlalchemy
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send
from websockets.exceptions import InvalidStatus

from apps.server import Address, Guard, client_network, is_signed, signed_cookie
from apps.settings import ADDRESS_HEADER, VOTER_COOKIE
from tests.apps.visitor import Visitor
from toolkit.arena.store import Store

PROXY, STRANGER = "127.0.0.2", "127.0.0.1"
"""Both on this machine; the arena is told to believe the first."""

pytestmark = pytest.mark.xdist_group("blind")


def keyed_hash(*parts: str) -> str:
    return f"{hash(parts) & 0xFFFFFFFF:08x}"


def pass_guard(
    headers: list[tuple[str, str]], kind: str = "websocket", **address: object
) -> tuple[HTTPConnection | None, list[Message]]:
    """What Streamlit gets of a request, if anything, and what the browser is sent."""
    received: list[HTTPConnection] = []
    sent: list[Message] = []

    async def streamlit(scope: Scope, _receive: Receive, send: Send) -> None:
        received.append(HTTPConnection(scope))
        if kind == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 304, "headers": []})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    host = [] if any(name == "host" for name, _ in headers) else [("host", "localhost:8501")]
    scope: Scope = {
        "type": kind,
        "path": "/_stcore/stream" if kind == "websocket" else "/",
        "scheme": "ws" if kind == "websocket" else "http",
        "client": ("2001:db8::1", 9),
        "headers": [(name.encode(), value.encode()) for name, value in [*host, *headers]],
    }
    guard = Guard(streamlit, Address(**address), keyed_hash)  # type: ignore[arg-type]
    asyncio.run(guard(scope, receive, send))
    return (received[0] if received else None), sent


def new_cookie(sent: list[Message]) -> str | None:
    cookies = [value.decode() for name, value in sent[0].get("headers", ()) if name == b"set-cookie"]
    return cookies[0] if cookies else None


VALID = f"{VOTER_COOKIE}={signed_cookie(keyed_hash)}"
FORGED = f"{VOTER_COOKIE}=I-am-50-people"


@pytest.mark.parametrize(
    "cookies",
    [
        [FORGED],
        [f"{VOTER_COOKIE}={'x' * 32}.{'0' * 8}"],
        [f'{VOTER_COOKIE}="{VALID.partition("=")[2]}"'],
        [f"{VALID}; {FORGED}"],
        [f"{FORGED}; {VALID}"],
        [VALID, FORGED],
        [f"{VALID}; {VOTER_COOKIE} =I-am-50-people"],
        [f"{VOTER_COOKIE}=."],
        [],
    ],
)
@pytest.mark.parametrize("kind", ["websocket", "http"])
def test_a_made_up_cookie_gets_a_new_id(cookies: list[str], kind: str) -> None:
    request, sent = pass_guard([("cookie", cookie) for cookie in ["theme=dark", *cookies]], kind)
    assert request is not None
    found = request.cookies[VOTER_COOKIE]
    assert is_signed(found, keyed_hash)
    assert found not in "; ".join(cookies), "an id that the visitor chose"
    assert str(new_cookie(sent)).startswith(f"{VOTER_COOKIE}={found}; ")
    assert request.cookies["theme"] == "dark"
    assert "HttpOnly" in str(new_cookie(sent))


def test_an_issued_cookie_is_kept_and_its_page_from_the_browsers_cache_makes_no_new_voter() -> None:
    request, sent = pass_guard([("cookie", VALID), ("if-none-match", '"page"')], "http")
    assert request is not None
    assert f"{VOTER_COOKIE}={request.cookies[VOTER_COOKIE]}" == VALID
    assert new_cookie(sent) is None
    request, sent = pass_guard([("cookie", VALID)])
    assert (request is not None, new_cookie(sent)) == (True, None)


@pytest.mark.parametrize(
    ("host", "origin", "names", "passes"),
    [
        ("localhost:8501", "http://localhost:8501", (), True),
        ("localhost:8501", None, (), True),
        ("localhost:8501", "http://evil.example", (), False),
        ("localhost:8501", "http://localhost:8502", (), False),
        ("localhost:8501", "null", (), False),
        ("localhost:8501", "http://localhost:8501.evil.example", (), False),
        ("evil.example", "http://evil.example", (), False),
        ("127.0.0.1.evil.example", "http://127.0.0.1.evil.example", (), False),
        ("arena.example", "https://arena.example", ("arena.example",), True),
        ("arena.example.evil.example", None, ("arena.example",), False),
        ("", "http://localhost:8501", (), False),
    ],
)
def test_foreign_pages_and_hosts_do_not_reach_streamlit(
    host: str, origin: str | None, names: tuple[str, ...], passes: bool
) -> None:
    origins = [("origin", origin)] if origin is not None else []
    for kind in ("websocket", "http"):
        request, sent = pass_guard([("host", host), *origins], kind, names=names)
        assert (request is not None) == passes
        if not passes:
            assert sent[0].get("code", sent[0].get("status")) in (1008, 403)


def test_an_address_in_a_request_is_not_believed_and_ipv6_counts_by_network() -> None:
    request, _ = pass_guard([(ADDRESS_HEADER, "192.0.2.1"), ("x-forwarded-for", "192.0.2.1")])
    assert request is not None
    assert request.headers.getlist(ADDRESS_HEADER) == ["2001:db8::/64"]
    assert client_network("2001:db8:0:0:ffff::7") == client_network("2001:db8::1")
    assert client_network("::ffff:192.0.2.7") == client_network("192.0.2.7") == "192.0.2.7"
    assert client_network("unix socket") == "unix socket"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('votes') / 'arena.db'}"


@pytest.fixture(scope="module")
def address(serve: Callable[..., str], example_run: Path, store: str) -> str:
    return serve(example_run, "--db", store, "--trusted-proxy", PROXY, "--public-name", "arena.example")


def voters(url: str) -> dict[str, str]:
    """Voter -> hash of the network address."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT id, address FROM arena_voters")).all()
    engine.dispose()
    return {row.id: row.address for row in rows}


async def visit(address: str, cookie: str, source: str | None = None, **headers: str) -> str:
    """Open a session by the websocket alone and draw the page; returns the cookie that was issued, if any."""
    async with Visitor(address, cookie, source, **headers) as visitor:
        assert "A is better" in visitor.buttons
        return visitor.issued


@pytest.mark.slow
def test_only_the_servers_cookies_make_voters(address: str, store: str) -> None:
    async def attack() -> None:
        issued = await visit(address, "")
        assert issued.startswith(VOTER_COOKIE)
        before = set(voters(store))
        for _ in range(3):
            assert await visit(address, issued) == ""
        assert set(voters(store)) == before, "a page from the browser's cache is the voter who came before"
        forged = f"{VOTER_COOKIE}=one-of-fifty"
        first, second = await visit(address, forged), await visit(address, forged)
        assert len({first, second, forged}) == 3
        made_up = Store(store).cookie_voter("one-of-fifty")
        assert made_up not in voters(store)

    asyncio.run(attack())


@pytest.mark.slow
def test_a_cached_page_keeps_its_voter(address: str) -> None:
    page = httpx.get(address)
    cookies = {VOTER_COOKIE: page.cookies[VOTER_COOKIE]}
    again = httpx.get(address, headers={"If-None-Match": page.headers["etag"]}, cookies=cookies)
    assert (again.status_code, "set-cookie" in again.headers) == (304, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_a_foreign_handshake_is_refused_at_once_and_makes_no_voter(
    address: str, store: str, headers: dict[str, str]
) -> None:
    before, started = voters(store), time.monotonic()
    with pytest.raises(InvalidStatus):
        asyncio.run(visit(address, "", **headers))
    assert time.monotonic() - started < 2, "Streamlit would look for its own address outside first"
    assert voters(store) == before


@pytest.mark.slow
def test_only_a_trusted_proxy_sets_where_a_voter_is(address: str, store: str) -> None:
    def network_of_visit(source: str, forwarded: str) -> str:
        before = voters(store)
        asyncio.run(visit(address, "", source, **{"X-Forwarded-For": forwarded}))
        (new,) = voters(store).keys() - before.keys()
        return voters(store)[new]

    direct = network_of_visit(STRANGER, "192.0.2.1")
    assert network_of_visit(STRANGER, "192.0.2.2") == direct, "a stranger's header is not believed"
    behind = [network_of_visit(PROXY, forwarded) for forwarded in ("192.0.2.1", "192.0.2.2", "192.0.2.1")]
    assert behind[0] == behind[2] != behind[1] != direct != behind[0]
    spoofed = network_of_visit(PROXY, "192.0.2.9, 192.0.2.1")
    assert spoofed == behind[0], "the last hop before the proxy counts, not what the client wrote first"
