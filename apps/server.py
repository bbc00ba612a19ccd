"""The arena's web server: Streamlit as an ASGI app behind a guard of requests, with the voter's cookie."""

import base64
import gc
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.settings import ADDRESS_HEADER, SECRETS, THEME, VOTER_COOKIE, Settings
from toolkit.arena.tally import paused_collection

YEAR = 365 * 24 * 3600
MOST_WAIT = 5.0
"""Seconds for which the server waits for its first figures before it answers."""


@dataclass(frozen=True)
class Address:
    """Where the arena listens."""

    host: str = "127.0.0.1"
    port: int = 8501
    base_path: str = ""
    """Prefix of the URL behind a proxy."""
    names: tuple[str, ...] = ()
    """Host names under which browsers reach it; empty: loopback names alone on the loopback, else any."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of the proxies whose X-Forwarded-For and -Proto are believed."""


def serve(settings: Settings, address: Address, announce: Callable[[], None]) -> None:
    """Serve the arena until it is stopped; `announce` is called once its run and its votes are read.

    The first figures of leaderboard and Admin are made by then too, unless they take long. The pages run in
    this process and find the settings in its environment, so that all replicas and sessions read the same.
    """
    os.environ.update(settings.as_environment())
    os.environ["FORWARDED_ALLOW_IPS"] = ",".join(address.proxies)  # the server believes these alone
    with paused_collection():
        from apps import cached_statistics, leaderboard, session  # noqa: F401 - what takes long to import, before visitors

        store = session.service().store
        gc.freeze()  # what was loaded stays: no collection looks at it
    making = Thread(target=cached_statistics.warm_up, daemon=True)
    making.start()
    making.join(MOST_WAIT)
    if settings.ask:
        Thread(target=session.live_models().load, daemon=True).start()
    sys.setswitchinterval(0.0005)  # else a vote waits 5 ms at every statement while figures are made
    announce()
    guard = Middleware(Guard, address=address, keyed_hash=store.keyed_hash)
    streamlit.App(Path(__file__).with_name("main.py"), middleware=[guard]).run(config=_config(address))


def _config(address: Address) -> dict[str, Any]:
    fixed = {
        "server.address": address.host,
        "server.port": address.port,
        "server.baseUrlPath": address.base_path,
        "server.headless": True,
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.enableAgentApi": False,
        "server.fileWatcherType": "none",
        "server.disconnectedSessionTTL": 60,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",  # a traceback could name a contestant
        "client.showErrorLinks": False,
        "client.toolbarMode": "minimal",
        "runner.magicEnabled": False,
        "runner.postScriptGC": False,  # a full collection after every click is most of its time
        "logger.hideWelcomeMessage": True,
    }
    secret = {"secrets.files": [os.environ[SECRETS]]} if os.environ.get(SECRETS) else {}
    return fixed | secret | THEME


class Guard:
    """Refuses foreign hosts and origins, sets security headers, issues and signs the voter's cookie.

    A request without a valid cookie gets a new one, and goes on as if it had come with it; so does the
    handshake of the websocket, so that a page from the browser's cache makes no voter of its own.
    """

    def __init__(self, app: ASGIApp, address: Address, keyed_hash: Callable[..., str]) -> None:
        self._app = app
        self._address = address
        self._keyed_hash = keyed_hash
        self._path = "/" + address.base_path.strip("/")
        self._headers = {
            "Content-Security-Policy": content_security_policy(),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "Cross-Origin-Opener-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if not self._is_ours(Headers(scope=scope)):
            await _refuse(scope, receive, send)
            return
        scope = dict(scope)
        cookie = self._prepare(scope)

        async def guarded(message: Message) -> None:
            starts = message["type"] in ("http.response.start", "websocket.accept")
            if starts:
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                if cookie and _is_page(scope, headers):
                    headers.append("set-cookie", cookie)
            await send(message)

        await self._app(scope, receive, guarded)

    def _is_ours(self, headers: Headers) -> bool:
        """Whether the host is one of this arena's names, and the page that asks is from there too."""
        host, origin, allowed = headers.get("host", ""), headers.get("origin"), self._address.names
        name = urlsplit(f"//{host}").hostname or ""
        everywhere = not allowed and not _is_loopback(self._address.host)
        known = everywhere or name in allowed or _is_loopback(name)
        return known and (origin is None or urlsplit(origin).netloc == host)

    def _prepare(self, scope: Scope) -> str | None:
        """Put a valid cookie and the client's address into the request; returns a new cookie's header."""
        headers = MutableHeaders(scope=scope)
        del headers[ADDRESS_HEADER]
        if scope.get("client"):
            headers[ADDRESS_HEADER] = client_network(str(scope["client"][0]))
        others, sent = [], []
        for pair in ";".join(headers.getlist("cookie")).split(";"):
            name, _, value = pair.partition("=")
            if name.strip() == VOTER_COOKIE:
                sent.append(value.strip())
            elif pair.strip():
                others.append(pair.strip())
        known = len(sent) == 1 and is_signed(sent[0], self._keyed_hash)
        value = sent[0] if known else signed_cookie(self._keyed_hash)
        headers["cookie"] = "; ".join([*others, f"{VOTER_COOKIE}={value}"])  # one header, one value
        if known:
            return None
        secure = "; Secure" if scope["scheme"] in ("https", "wss") else ""
        return f"{VOTER_COOKIE}={value}; Path={self._path}; Max-Age={YEAR}; HttpOnly; SameSite=Lax{secure}"


def client_network(address: str) -> str:
    """The address; of IPv6 its /64, all of whose addresses one household has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def signed_cookie(keyed_hash: Callable[..., str]) -> str:
    """A new voter's cookie: random, with the arena's signature."""
    token = secrets.token_urlsafe(24)
    return f"{token}.{keyed_hash('voter-cookie', token)}"


def is_signed(value: str, keyed_hash: Callable[..., str]) -> bool:
    """Whether this arena issued the cookie."""
    token, _, signature = value.partition(".")
    return bool(token) and hmac.compare_digest(signature.encode(), keyed_hash("voter-cookie", token).encode())


def _is_page(scope: Scope, headers: Headers) -> bool:
    """Whether a response is a page of the arena, cached or not, or the websocket's."""
    kind = headers.get("content-type", "")
    return (
        scope["type"] == "websocket"
        or kind.startswith("text/html")
        or (not kind and "." not in scope["path"].rpartition("/")[2] and "/_stcore/" not in scope["path"])
    )


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:  # such as 127.0.0.1.evil.example
        return False


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a foreign request, before Streamlit sees it."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    text = "This arena is not served under this host name: start it with --public-name NAME."
    await PlainTextResponse(text, status_code=403)(scope, receive, send)


def content_security_policy() -> str:
    """Everything from this server only: no remote images, no frames, no scripts but Streamlit's own."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    inline = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline]
    rules = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "frame-src": "'none'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
