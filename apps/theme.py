"""Colours and type. Every text has a contrast of at least 4.5:1 with what is behind it, in light and dark."""

from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("style.css")
ICON = Path(__file__).with_name("icon.svg")

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
