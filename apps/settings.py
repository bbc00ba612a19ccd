"""Settings passed from `adapter-arena serve` to the pages through the process environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "ADAPTER_ARENA_SERVE"
VOTER_COOKIE = "adapter_arena_voter"
ADDRESS_HEADER = "x-adapter-arena-address"
"""Request header in which the server's guard passes the client's network address to the pages."""

PASSWORD = "ADAPTER_ARENA_ADMIN_PASSWORD"
"""Environment variable with the administrator's password; without one there is no Admin page."""

ADMINS = "ADAPTER_ARENA_ADMINS"
"""Environment variable with the administrators who sign in, separated by commas: verified e-mail addresses,
or issuer and subject of their account as `https://issuer|subject`."""

SECRETS = "ADAPTER_ARENA_SECRETS"
"""Environment variable with the path of a `secrets.toml` in which Streamlit finds its identity provider."""


@dataclass(frozen=True)
class Settings:
    run: str
    """Run folder."""
    database: str
    """SQLAlchemy URL of the vote store."""
    contestants: tuple[str, ...] = ()
    """Contestants; empty: the recipe's."""
    seed: int = 0
    per_minute: int = 60
    grace: float = 60.0
    check_every: int = 0
    reveal: str = "after-vote"
    sign_in: bool = False
    """Whether only voters with an account may vote."""
    ask: bool = False
    """Whether voters may ask questions of their own, which takes the models themselves."""

    def as_environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Settings:
        fields = json.loads(os.environ[VARIABLE])
        return cls(**fields | {"contestants": tuple(fields["contestants"])})
