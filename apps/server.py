"""The arena's web server: Streamlit as an ASGI app, with our headers and the voter's cookie around it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.settings import SECRETS, VOTER_COOKIE, Settings
from apps.theme import THEME

YEAR = 365 * 24 * 3600


@dataclass(frozen=True)
class Address:
    """Where the arena listens."""

    host: str = "127.0.0.1"
    port: int = 8501
    base_path: str = ""
    """Prefix of the URL behind a proxy."""


def serve(settings: Settings, address: Address) -> None:
    """Serve the arena until it is stopped.

    The pages run in this process and find the settings in its environment, so that every replica and every
    session reads the same.
    """
    os.environ.update(settings.as_environment())
    app = streamlit.App(
        Path(__file__).with_name("arena.py"), middleware=[Middleware(Guard, base_path=address.base_path)]
    )
    app.run(config=_config(address))


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
    """Security headers on every response; a cookie for a voter who has none with every page."""

    def __init__(self, app: ASGIApp, base_path: str) -> None:
        self._app = app
        self._path = f"/{base_path.strip('/')}" if base_path.strip("/") else "/"
        self._headers = {
            "Content-Security-Policy": content_security_policy(),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "Cross-Origin-Opener-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = VOTER_COOKIE in SimpleCookie(Headers(scope=scope).get("cookie", ""))

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                if not known and headers.get("content-type", "").startswith("text/html"):
                    headers.append("set-cookie", self._cookie(scope["scheme"] == "https"))
            await send(message)

        await self._app(scope, receive, guarded)

    def _cookie(self, encrypted: bool) -> str:
        attributes = f"Path={self._path}; Max-Age={YEAR}; HttpOnly; SameSite=Lax"
        return f"{VOTER_COOKIE}={secrets.token_urlsafe(24)}; {attributes}{'; Secure' if encrypted else ''}"


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
