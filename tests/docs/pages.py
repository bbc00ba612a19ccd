"""README and documentation as a reader sees them: the blocks to type, and the links to follow."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of these languages, in order."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```([a-z]*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [block for language, block in found if language in languages]


@dataclass(frozen=True)
class Typed:
    """One line of a block for the shell."""

    line: str
    words: tuple[str, ...]
    """Without variables set in front, and without the command's folder."""

    @property
    def command(self) -> str:
        return self.words[1]


def typed(page: Path) -> list[Typed]:
    """Everything the page tells a reader to type: blocks for the shell, and our lines in plain blocks."""
    found = []
    for language in ("sh", ""):
        for block in blocks(page, language):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("&&") if language or line.startswith("adapter-arena") else ():
                    words = shlex.split(part, comments=True)
                    while words and re.fullmatch(r"\w+=\S*", words[0]):
                        words.pop(0)
                    if words:
                        found.append(Typed(line.strip(), (words[0].removeprefix(".venv/bin/"), *words[1:])))
    return found
