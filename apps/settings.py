"""Settings passed from `adapter-arena serve` to the pages through the process environment, and their look."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

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

STYLE = Path(__file__).with_name("style.css")
ICON = Path(__file__).with_name("icon.svg")

# Colours and type: every text has a contrast of at least 4.5:1 with what is behind it, in light and dark.
THEME: dict[str, Any] = {
    "theme.baseFontSize": 16,
    "theme.baseRadius": "6px",
    "theme.buttonRadius": "6px",
    "theme.showWidgetBorder": True,
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f5f5f3",
    "theme.light.textColor": "#1d2125",
    "theme.light.primaryColor": "#1d4f7c",
    "theme.light.borderColor": "#d8d8d4",
    "theme.light.codeBackgroundColor": "#f5f5f3",
    "theme.dark.backgroundColor": "#16181b",
    "theme.dark.secondaryBackgroundColor": "#1f2226",
    "theme.dark.textColor": "#e8e8e5",
    "theme.dark.primaryColor": "#2f6fab",
    "theme.dark.borderColor": "#3a3e44",
    "theme.dark.codeBackgroundColor": "#1f2226",
}


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
    def from_environment(cls) -> Self:
        fields = json.loads(os.environ[VARIABLE])
        return cls(**fields | {"contestants": tuple(fields["contestants"])})
