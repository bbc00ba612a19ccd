"""Untrusted answers as Markdown that can be shown: the layout is kept, everything active is spelled out.

An answer is parsed and written again in a small Markdown of our own: every punctuation mark of its text is
escaped, so that only what this module writes is markup. HTML stays visible text; images and links become
their text and address; code is never highlighted as a diagram; formulas keep to commands that draw symbols.
What comes out is safe in `st.markdown` (the page's content-security policy is the second wall), whatever
differences there are between Markdown parsers.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.tree import SyntaxTreeNode

LIMIT = 20_000
"""Characters shown of an answer; the rest is cut, and the cut is said."""

DEPTH = 40
"""Lists in quotes in lists ... deeper than this are shown as plain text."""

FORMULA_LINES = 60

LANGUAGES = frozenset(
    """bash c cpp csharp css diff go html http ini java javascript js json jsonc jsx kotlin lua makefile
    markdown matlab perl php powershell python py r ruby rust scala sh shell sql swift toml ts tsx typescript
    xml yaml yml""".split()
)
"""Code is coloured in these languages; others (`mermaid`, `html preview` ...) are shown plain."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, and those that reverse the direction of what follows."""

_ADDRESS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{0,20}://|\bwww\.)[^\s`<>\"']*[^\s`<>\"'.,;:)]"
    r"|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]*\w",
    re.IGNORECASE,
)
"""What a renderer may turn into a link of its own accord. All patterns here are bounded: an answer may be
made to match slowly."""

_REPLACED = re.compile(r"(?<=:)(?=[\w+/-]+:)|(?<=\s)(?=(?:<->|->|<-|--|>=|<=|~=)\s)")
"""Where Streamlit would put an emoji, an icon or another sign in place of the text."""

_WORD_JOINER = "\u2060"
"""Invisible, no width: keeps the text as it is where `_REPLACED` finds something."""

_PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")

_UNSAFE_FORMULA = re.compile(
    r"\\(?:html\w*|href|url|includegraphics|class|cssId|style|def|gdef|edef|xdef|let|futurelet|newcommand|"
    r"renewcommand|providecommand|global|rule|kern|mkern|hskip|mskip|hspace|raise|lower|raisebox|smash|llap|"
    r"rlap|clap|mathllap|mathrlap|mathclap|vcenter|char|verb|tag|color|textcolor|colorbox|fcolorbox|Huge|huge|"
    r"LARGE|phantom|hphantom|vphantom|unicode|require|input|write|bbox)(?![a-zA-Z])"
)
"""Commands that move, size, colour or hide ink, link, or define others."""

_INLINE_FORMULA = re.compile(
    r"\\\((?P<brackets>.{1,2000}?)\\\)|\\\[(?P<square>.{1,2000}?)\\\]|\$\$(?P<double>[^$]+?)\$\$"
    r"|\$(?P<single>(?![\s$])[^$\n]*?[^\s$])\$(?!\d)",
    re.DOTALL,
)
_BLOCK_FORMULA = re.compile(
    r"(?:\$\$(?P<double>[^$]+?)\$\$|\\\[(?P<square>.{1,4000}?)\\\])[ \t]*\n", re.DOTALL
)


def _find_formula(state: StateInline, silent: bool) -> bool:
    r"""The parser's rule for `$x$`, `$$x$$`, `\(x\)` and `\[x\]` within a line or paragraph."""
    found = _INLINE_FORMULA.match(state.src, state.pos)
    if not found:
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.content = found[found.lastgroup or 0]
        token.meta = {"display": found.lastgroup in ("double", "square")}
    state.pos = found.end()
    return True


def _find_formula_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""The parser's rule for `$$` and `\[` formulas that have their lines to themselves."""
    if not state.src.startswith(("$$", r"\["), state.bMarks[start] + state.tShift[start]):
        return False
    last = min(end, start + FORMULA_LINES)
    text = state.getLines(start, last, state.blkIndent, True).lstrip(" ")
    found = _BLOCK_FORMULA.match(text if text.endswith("\n") else text + "\n")
    if not found or state.is_code_block(start):
        return False
    if not silent:
        token = state.push("formula_block", "", 0)
        token.content = found[found.lastgroup or 0]
        state.line = start + found.group().rstrip("\n").count("\n") + 1
        token.map = [start, state.line]
    return True


_PARSER = MarkdownIt("commonmark", {"html": False, "maxNesting": 2 * DEPTH}).enable(
    ["table", "strikethrough"]
)
_PARSER.inline.ruler.before("escape", "formula", _find_formula)
_PARSER.block.ruler.before(
    "fence", "formula_block", _find_formula_block, {"alt": ["paragraph", "blockquote"]}
)


@lru_cache(maxsize=4096)
def safe_markdown(answer: str) -> str:
    """The answer in Markdown without anything active in it; see the module."""
    shown = _UNSEEN.sub("", answer.replace("\r\n", "\n"))
    if not shown.strip():
        return "*(an empty answer)*"
    cut = f"\n\n*({len(shown) - LIMIT} more characters are not shown)*" if len(shown) > LIMIT else ""
    return _written(shown[:LIMIT]) + cut


def _written(text: str) -> str:
    tokens = _PARSER.parse(text)
    deepest = max((t.level for token in tokens for t in [token, *(token.children or ())]), default=0)
    if deepest > DEPTH:
        return "\\\n".join(_text_of(line) for line in text.split("\n"))
    return _blocks(SyntaxTreeNode(tokens).children)


def _blocks(nodes: list[SyntaxTreeNode], between: str = "\n\n") -> str:
    return between.join(_block(node) for node in nodes)


def _block(node: SyntaxTreeNode) -> str:
    write = _BLOCKS.get(node.type)
    return write(node) if write else _escape(node.content)


def _heading(node: SyntaxTreeNode) -> str:
    """Bold, not a heading: an answer has no place in the page's outline."""
    text = _spans(node.children)
    return f"**{text}**" if text.strip() else ""


def _list(node: SyntaxTreeNode) -> str:
    numbers = node.type == "ordered_list"
    start = int(node.attrs.get("start", 1)) if numbers else 0
    items = []
    for offset, item in enumerate(node.children):
        mark = f"{start + offset}. " if numbers else "- "
        tight = all(child.hidden for child in item.children if child.type == "paragraph")
        items.append(mark + _indent(_blocks(item.children, "\n" if tight else "\n\n"), len(mark)))
    return "\n".join(items)


def _quote(node: SyntaxTreeNode) -> str:
    return "\n".join(f"> {line}".rstrip() for line in _blocks(node.children).split("\n"))


def _code(node: SyntaxTreeNode) -> str:
    language = (node.info.split() or [""])[0].lower() if node.type == "fence" else ""
    fence = "`" * max(3, _longest_run(node.content) + 1)
    return f"{fence}{language if language in LANGUAGES else 'text'}\n{node.content.rstrip(chr(10))}\n{fence}"


def _table(node: SyntaxTreeNode) -> str:
    rows = [row for section in node.children for row in section.children]
    lines = [f"| {' | '.join(_cell(cell) for cell in row.children)} |" for row in rows]
    rule = f"|{' --- |' * len(rows[0].children)}"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(node: SyntaxTreeNode) -> str:
    """A pipe inside code or a formula would end the cell; in text it is escaped already."""
    return re.sub(r"(?<!\\)\|", r"\\|", _spans(node.children)).replace("\n", " ")


def _formula_block(node: SyntaxTreeNode) -> str:
    formula = re.sub(r"\n\s*", "\n", node.content.strip())
    return f"$$\n{formula}\n$$" if _is_safe_formula(formula) else _inline_code(formula)


def _spans(nodes: list[SyntaxTreeNode]) -> str:
    return "".join(_span(node) for node in nodes)


def _span(node: SyntaxTreeNode) -> str:
    write = _SPANS.get(node.type)
    if write:
        return write(node)
    return _spans(node.children) if node.children else _escape(node.content)


def _text(node: SyntaxTreeNode) -> str:
    return _text_of(node.content)


def _text_of(content: str) -> str:
    parts, end = [], 0
    for address in _ADDRESS.finditer(content):
        parts += [_escape(content[end : address.start()]), _inline_code(address.group())]
        end = address.end()
    return "".join([*parts, _escape(content[end:])])


def _code_span(node: SyntaxTreeNode) -> str:
    return _inline_code(node.content)


def _link(node: SyntaxTreeNode) -> str:
    text, address = _spans(node.children), str(node.attrs.get("href") or node.attrs.get("src") or "")
    shown = _inline_code(address) if address else ""
    return text if not shown or shown in text else f"{text} ({shown})"


def _image(node: SyntaxTreeNode) -> str:
    return f"\\[image\\: {_link(node)}\\]"


def _formula(node: SyntaxTreeNode) -> str:
    formula = " ".join(node.content.split())
    if not _is_safe_formula(formula):
        return _inline_code(formula)
    return f"$\\displaystyle {formula}$" if node.meta["display"] else f"${formula}$"


def _inline_code(content: str) -> str:
    ticks = "`" * (_longest_run(content) + 1)
    pad = " " if content.startswith("`") or content.endswith("`") else ""
    flat = content.replace("\n", " ")
    return f"{ticks}{pad}{flat}{pad}{ticks}" if flat.strip() else ""


def _escape(text: str) -> str:
    escaped_text = _REPLACED.sub(_WORD_JOINER, f" {text} ")[1:-1]
    return _PUNCTUATION.sub(r"\\\1", escaped_text)


def _is_safe_formula(formula: str) -> bool:
    return bool(formula) and "$" not in formula and not _UNSAFE_FORMULA.search(formula)


def _longest_run(content: str) -> int:
    """Length of the longest run of backticks."""
    return max((len(run) for run in re.findall("`+", content)), default=0)


def _indent(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width)


def _around(mark: str) -> Callable[[SyntaxTreeNode], str]:
    return lambda node: f"{mark}{_spans(node.children)}{mark}"


def _inside(node: SyntaxTreeNode) -> str:
    return _spans(node.children)


_BLOCKS: dict[str, Callable[[SyntaxTreeNode], str]] = {
    "paragraph": _inside,
    "heading": _heading,
    "bullet_list": _list,
    "ordered_list": _list,
    "blockquote": _quote,
    "fence": _code,
    "code_block": _code,
    "hr": lambda _: "---",
    "table": _table,
    "formula_block": _formula_block,
}

_SPANS: dict[str, Callable[[SyntaxTreeNode], str]] = {
    "text": _text,
    "softbreak": lambda _: "\\\n",  # a line of an answer (a form, a card) stays a line
    "hardbreak": lambda _: "\\\n",
    "strong": _around("**"),
    "em": _around("*"),
    "s": _around("~~"),
    "code_inline": _code_span,
    "link": _link,
    "image": _image,
    "formula": _formula,
}
