"""Sanitise Markdown in untrusted answers: the layout is kept, active content is escaped.

An answer is parsed and written again in a small Markdown of our own: every punctuation mark of its text is
escaped, so that only what this module writes is markup. HTML, entities, images and links stay visible source;
code is never highlighted as a diagram; formulas keep to commands that draw symbols. What comes out is safe in
`st.markdown` (the page's content-security policy is the second wall), whatever differences there are between
Markdown parsers.

Only what is surely layout is taken for it: an asterisk in arithmetic, a dollar of a price, an underscore, a
backslash, the list mark of a lone number and an odd numbering stay as they were written.
"""

import re
import string
from collections.abc import Callable
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, hr, list_block, table
from markdown_it.rules_block.table import escapedSplit, getLine
from markdown_it.rules_inline import StateInline
from markdown_it.tree import SyntaxTreeNode

LIMIT = 20_000
"""Characters shown of an answer; the rest is cut, with a mark."""

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
    r"|\$(?P<single>(?![\s$])[^$\n]*?[^\s$])\$(?![\w$])",
    re.DOTALL,
)
_BLOCK_FORMULA = re.compile(
    r"(?:\$\$(?P<double>[^$]+?)\$\$|\\\[(?P<square>.{1,4000}?)\\\])[ \t]*\n", re.DOTALL
)
_TEX_TEXT = re.compile(r"\\(?:text\w*|mbox|mathrm|operatorname|begin|end)\*?\{[^{}]{0,200}\}|\\[a-zA-Z]+")
_TEX_MARK = re.compile(r"[\\^_{}=]")


def is_tex(content: str, *, dollars: bool) -> bool:
    """Whether what stands between formula marks is a formula; between two prices there are words."""
    rest = _TEX_TEXT.sub(" ", content)
    words = re.findall(r"[^\W\d_]{2,}", rest)
    if not dollars:
        return len(words) < 4 or bool(_TEX_MARK.search(content))  # noqa: PLR2004 - fewer may be names in it
    if any(len(word) > 3 or not word.isascii() for word in words) or len(words) > 2:  # noqa: PLR2004
        return False
    if _TEX_MARK.search(content.replace("=", "")):
        return True
    if "*" in content or content.count("(") != content.count(")"):
        return False
    return " " not in content or (not words and bool(re.search(r"[^\W\d_]|=", rest)))


def _find_formula(state: StateInline, silent: bool) -> bool:
    r"""The parser's rule for `$x$`, `$$x$$`, `\(x\)` and `\[x\]` within a line or paragraph."""
    found = _INLINE_FORMULA.match(state.src, state.pos)
    before = state.src[state.pos - 1 : state.pos]
    if not found or (found["single"] and (before.isalnum() or before == "$")):
        return False
    content = found[found.lastgroup or 0]
    if not is_tex(content, dollars="$" in found.group()[0]):
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.content, token.markup = content, found.group()
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
    if not found or state.is_code_block(start) or not is_tex(found[found.lastgroup or 0], dollars=False):
        return False
    if not silent:
        token = state.push("formula_block", "", 0)
        token.content, token.markup = found[found.lastgroup or 0], found.group().rstrip()
        state.line = start + found.group().rstrip("\n").count("\n") + 1
        token.map = [start, state.line]
    return True


_ESCAPABLE = frozenset("*_$`#~|[]>.-+!")
"""A backslash before one of these is Markdown's; before others (`\\{`, a path, TeX) it is the author's."""

_ARITHMETIC = re.compile(r"[ \t]{0,3}[-*>][ \t]+[\d\s.,$%()+*/=x\u00d7\u00f7-]+$")
"""A line such as `- 3` or `> 5`: an operator, not a list or a quote."""


_LONG_RULE = re.compile(r"([*_-])\1{5,}[ \t]*$")


def _keep_literal(state: StateInline, silent: bool) -> bool:
    r"""The parser's rule for what looks like marks: `_`, most `\`, `*` and `~` in arithmetic or words."""
    src, pos, mark = state.src, state.pos, state.src[state.pos]
    if mark == "\\":
        if src[pos + 1 : pos + 2] in _ESCAPABLE and pos + 1 < len(src):
            return False
        end = pos + 1
    elif mark in "*_~":
        end = pos + 1
        while src[end : end + 1] == mark:
            end += 1
        if mark != "_" and not _is_literal_run(src, pos, end):
            return False
    else:
        return False
    if not silent:
        state.pending += src[pos:end]
    state.pos = end
    return True


def _is_literal_run(src: str, start: int, end: int) -> bool:
    before, after = src[start - 1 : start] or " ", src[end : end + 1] or " "
    if before.isspace() and after.isspace():
        return True
    inside_word = _is_narrow(before) and _is_narrow(after)
    if (
        inside_word
        or (before in ")]" and (_is_narrow(after) or after in "([$"))
        or (after in "([" and _is_narrow(before))
    ):
        return True
    if end - start > 1:
        return False
    left, right = src[max(0, start - 9) : start].rstrip()[-1:], src[end : end + 9].lstrip()[:1]
    opens_number = before.isspace() and after in _NUMERIC and left in _NUMERIC_END
    closes_number = after.isspace() and before in _NUMERIC_END and right in _NUMERIC
    return bool((left and opens_number) or (right and closes_number))


_NUMERIC, _NUMERIC_END = "0123456789($-.", "0123456789)%"


def _is_narrow(character: str) -> bool:
    """A letter or digit of a script that puts spaces between words."""
    return character.isalnum() and ord(character) < 0x2E80  # noqa: PLR2004 - CJK begins here


_Rule = Callable[[StateBlock, int, int, bool], bool]


def _unless_arithmetic(rule: _Rule) -> _Rule:
    """A block rule that leaves lines such as `- 3` or `*****`, and every `+ 3`, to the text."""

    def guarded(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
        literal = line.startswith("+") or _ARITHMETIC.match(line) or _LONG_RULE.match(line)
        return not literal and rule(state, start, end, silent)

    return guarded


def _whole_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """The table rule, where no row has more cells than the header: those would not be shown."""
    columns = 0
    for line in range(start, end):
        text = getLine(state, line).strip()
        if not text or "|" not in text:
            break
        cells = len(escapedSplit(text.removeprefix("|").removesuffix("|")))
        columns = columns or cells
        if cells > columns:
            return False
    return table(state, start, end, silent)


_PARSER = (
    MarkdownIt("commonmark", {"html": False, "maxNesting": 2 * DEPTH})
    .enable(["table", "strikethrough"])
    .disable(["link", "image", "autolink", "entity", "reference", "lheading", "html_block", "html_inline"])
)
_PARSER.inline.ruler.before("escape", "formula", _find_formula)
_PARSER.inline.ruler.before("escape", "literal", _keep_literal)
_PARSER.block.ruler.before(
    "fence", "formula_block", _find_formula_block, {"alt": ["paragraph", "blockquote"]}
)
_ALT = ["paragraph", "reference", "blockquote"]
_PARSER.block.ruler.at("hr", _unless_arithmetic(hr), {"alt": [*_ALT, "list"]})
_PARSER.block.ruler.at("list", _unless_arithmetic(list_block), {"alt": _ALT})
_PARSER.block.ruler.at("blockquote", _unless_arithmetic(blockquote), {"alt": [*_ALT, "list"]})
_PARSER.block.ruler.at("table", _whole_table, {"alt": ["paragraph", "reference"]})


@lru_cache(maxsize=4096)
def safe_markdown(answer: str) -> str:
    """The answer in Markdown without anything active in it, empty where there is nothing to see."""
    shown = _UNSEEN.sub("", answer.replace("\r\n", "\n"))
    if not shown.strip():
        return ""
    cut = f"\n\n*({len(shown) - LIMIT} more characters are not shown)*" if len(shown) > LIMIT else ""
    tokens = _PARSER.parse(shown[:LIMIT])
    if max((t.level for token in tokens for t in [token, *(token.children or ())]), default=0) > DEPTH:
        return "\\\n".join(_text(line) for line in shown[:LIMIT].split("\n")) + cut
    return _blocks(SyntaxTreeNode(tokens).children) + cut


def _blocks(nodes: list[SyntaxTreeNode], between: str = "\n\n") -> str:
    written = []
    for node in nodes:
        write = _BLOCKS.get(node.type)
        written.append(write(node) if write else _escape(node.content))
    return between.join(written)


def _heading(node: SyntaxTreeNode) -> str:
    """Bold, not a heading: an answer has no place in the page's outline."""
    text = _spans(node.children)
    return f"**{text}**" if text.strip() else ""


def _list(node: SyntaxTreeNode) -> str:
    items = node.children
    first = int(items[0].info or 0)
    counted = all(
        item.info == str(first + offset) and item.markup == "." for offset, item in enumerate(items)
    )
    shown = []
    for item in items:
        mark = f"{item.info}. " if item.info else "- "
        tight = all(child.hidden for child in item.children if child.type == "paragraph")
        body = _blocks(item.children, "\n" if tight else "\n\n")
        if item.info and not counted:  # a browser would number these anew
            shown.append(f"{item.info}\\{item.markup} {body}")
        else:
            shown.append(mark + body.replace("\n", "\n" + " " * len(mark)))
    return ("\n" if counted or not items[0].info else "\n\n").join(shown)


def _quote(node: SyntaxTreeNode) -> str:
    return "\n".join(f"> {line}".rstrip() for line in _blocks(node.children).split("\n"))


def _code(node: SyntaxTreeNode) -> str:
    info = node.info.strip() if node.type == "fence" else ""
    language = info.lower() if info.lower() in LANGUAGES else "text"
    content = node.content if re.fullmatch(r"[\w+#.-]{0,20}", info) else f"{info}\n{node.content}"
    fence = "`" * max(3, _longest_run(content) + 1)
    return f"{fence}{language}\n{content.rstrip(chr(10))}\n{fence}"


def _table(node: SyntaxTreeNode) -> str:
    rows = [row for section in node.children for row in section.children]
    lines = []
    for row in rows:
        # A pipe inside code or a formula would end the cell; in text it is escaped already.
        cells = (
            re.sub(r"(?<!\\)\|", r"\\|", _spans(cell.children)).replace("\n", " ") for cell in row.children
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([lines[0], f"|{' --- |' * len(rows[0].children)}", *lines[1:]])


def _formula_block(node: SyntaxTreeNode) -> str:
    formula = re.sub(r"\n\s*", "\n", node.content.strip())
    return f"$$\n{formula}\n$$" if _is_safe_formula(formula) else _inline_code(node.markup)


def _spans(nodes: list[SyntaxTreeNode]) -> str:
    written = []
    for node in nodes:
        if write := _SPANS.get(node.type):
            written.append(write(node))
        else:
            written.append(_spans(node.children) if node.children else _escape(node.content))
    return "".join(written)


def _text(content: str) -> str:
    parts, end = [], 0
    for address in _ADDRESS.finditer(content):
        parts += [_escape(content[end : address.start()]), _inline_code(address.group())]
        end = address.end()
    return "".join([*parts, _escape(content[end:])])


def _formula(node: SyntaxTreeNode) -> str:
    formula = " ".join(node.content.split())
    if not _is_safe_formula(formula):
        return _inline_code(node.markup)
    return f"$\\displaystyle {formula}$" if node.meta["display"] else f"${formula}$"


def _inline_code(content: str) -> str:
    ticks = "`" * (_longest_run(content) + 1)
    pad = " " if content.startswith("`") or content.endswith("`") else ""
    flat = content.replace("\n", " ")
    return f"{ticks}{pad}{flat}{pad}{ticks}" if flat.strip() else _escape("`` ``")


def _escape(text: str) -> str:
    escaped_text = _REPLACED.sub(_WORD_JOINER, f" {text} ")[1:-1]
    return _PUNCTUATION.sub(r"\\\1", escaped_text)


def _is_safe_formula(formula: str) -> bool:
    return bool(formula) and "$" not in formula and not _UNSAFE_FORMULA.search(formula)


def _longest_run(content: str) -> int:
    return max((len(run) for run in re.findall("`+", content)), default=0)


_BLOCKS: dict[str, Callable[[SyntaxTreeNode], str]] = {
    "paragraph": lambda node: _spans(node.children),
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
    "text": lambda node: _text(node.content),
    "softbreak": lambda _: "\\\n",  # a line of an answer (a form, a card) stays a line
    "hardbreak": lambda _: "\\\n",
    "strong": lambda node: f"**{_spans(node.children)}**",
    "em": lambda node: f"*{_spans(node.children)}*",
    "s": lambda node: f"~~{_spans(node.children)}~~",
    "code_inline": lambda node: _inline_code(node.content),
    "formula": _formula,
}
