"""Settings passed from `adapter-arena serve` to the pages through the process environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "ADAPTER_ARENA_SERVE"
VOTER_COOKIE = "adapter_arena_voter"
PASSWORD = "ADAPTER_ARENA_ADMIN_PASSWORD"
"""Environment variable with the administrator's password; without one there is no Admin page."""

ADMINS = "ADAPTER_ARENA_ADMINS"
"""Environment variable with the e-mail addresses, separated by commas, of administrators who sign in."""

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
    ask: bool = False
    """Whether voters may ask questions of their own, which takes the models themselves."""

    def as_environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Settings:
        fields = json.loads(os.environ[VARIABLE])
        return cls(**fields | {"contestants": tuple(fields["contestants"])})
