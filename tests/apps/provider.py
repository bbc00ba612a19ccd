"""An identity provider (OpenID Connect) on the loopback, which signs in whoever its test says, unasked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "arena"


class Provider(ThreadingHTTPServer):
    """Signs in `person`: the claims of the identity token it hands out."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.key = RSAKey.generate_key(2048, parameters={"kid": "test", "alg": "RS256", "use": "sig"})
        self.person: dict[str, object] = {}
        self.nonce = ""

    def secrets(self) -> str:
        """What Streamlit's `secrets.toml` needs of it."""
        lines = {
            "redirect_uri": "http://127.0.0.1:{port}/oauth2callback",
            "cookie_secret": "a secret of thirty-two characters",
            "client_id": CLIENT,
            "client_secret": "between the two",
            "server_metadata_url": f"{self.url}/.well-known/openid-configuration",
        }
        return "[auth]\n" + "".join(f'{name} = "{value}"\n' for name, value in lines.items())

    def token(self) -> dict[str, object]:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 600, "nonce": self.nonce}
        signed = jwt.encode({"alg": "RS256", "kid": "test"}, {**claims, **self.person}, self.key)
        return {"access_token": "x", "token_type": "Bearer", "expires_in": 600, "id_token": signed}


class _Pages(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        requested, own = urlsplit(self.path), self.server.url
        if requested.path == "/authorize":
            query = {name: values[0] for name, values in parse_qs(requested.query).items()}
            self.server.nonce = query["nonce"]
            self.send_response(302)
            back = urlencode({"code": "one", "state": query["state"]})
            self.send_header("Location", f"{query['redirect_uri']}?{back}")
            self.end_headers()
        elif requested.path == "/keys":
            self._send({"keys": [self.server.key.as_dict(private=False)]})
        else:
            places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            known = {name: f"{own}/{path}" for name, path in places.items()}
            algorithms = {"id_token_signing_alg_values_supported": ["RS256"]}
            self._send({"issuer": own, **known, **algorithms})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.server.token())

    def _send(self, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def provider() -> Iterator[Provider]:
    with Provider() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
