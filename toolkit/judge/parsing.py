r"""Reading a verdict or a grade out of what a judge wrote, without ever guessing.

A reply that does not state its verdict in a known form, or states two that differ, is unreadable: `None`,
never a tie. The known forms are those of MT-bench (`[[A]]`), Arena-Hard (`[[A>>B]]`), Prometheus
(`[RESULT] B`), `\boxed{B}` of models that reason, a JSON object with a field such as `verdict`, `winner` or
`grade` (the reply itself, or a fenced part of it), a line such as `Winner: Assistant A` or `Final answer: B`,
and a last line that is nothing but the verdict.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from toolkit import io
from toolkit.types import Outcome

T = TypeVar("T")

LABELS: dict[str, Outcome] = {"A": "a", "B": "b", "C": "tie"}
"""What MT-bench's judges write; a judge prompt may name its own."""

DEGREES: dict[str, Outcome] = {"A>>B": "a", "A>B": "a", "A=B": "tie", "B=A": "tie", "B>A": "b", "B>>A": "b"}
"""What Arena-Hard's judges write."""

TIES: dict[str, Outcome] = {"TIE": "tie", "DRAW": "tie"}
"""What a tie is called, whatever its label."""

VERDICT_FIELDS = ("verdict", "winner", "final_verdict", "choice", "decision", "preferred", "better", "result")
GRADE_FIELDS = ("grade", "score", "rating", "final_grade", "overall_score", "overall")
"""Fields of JSON objects that state a verdict, or a grade."""

MARKS = re.compile(r"(?<!\bnot )\[\[\s*([^\[\]\n]{1,20}?)\s*\]\]")
RESULT = re.compile(r"\[RESULT\]\W*(.+)", re.IGNORECASE)

BOX = r"(?<!\bnot )\\(?:boxed|fbox)\s*\{(?:\s*\\\w+\s*\{)?([^{}]{1,40})\}"

NAME = r"(?:(?:the )?(?:assistant|answer|response|model|option|output)[ _]?)?"
SO = r"(?:(?:so|thus|hence|therefore|overall|in conclusion),? )?"
STATEMENT = (
    rf"{SO}(?:(?:my|the) )?(?:(?:final|overall) )?(?:verdict|choice|winner|decision|judg(?:e)?ment|preference"
    r"|result|final(?: answer)?|(?:best|better|preferred)(?: (?:answer|response|assistant|one))?)(?: is)?\W*?"
)
"""How a line begins that states the verdict."""
SENTENCE = (
    r"(?:therefore, |in (?:conclusion|this case), |overall, )?(?:the (?:best|better) answer is|i choose) "
    r"(?:from |provided by |the answer of |the one provided by )?(?:assistant|answer|response) "
)
UNGRADED = r"(?![+\-\u2212])"
"""`B+` and `A-` are school marks."""
WINS = (
    r"(?: (?:wins|is (?:the )?(?:better|best|winner|preferred)(?: (?:answer|response|one))?"
    rf"(?: than {NAME}\w)?))?"
)
BOXED = re.compile(rf"^\W*(?:{STATEMENT})?{NAME}{BOX}[^\w?]*$|{BOX}[^\w?]*\Z", re.IGNORECASE | re.MULTILINE)
"""A line that is nothing but a box or states it as the verdict, and one that the reply ends with."""
CORRECTION = re.compile(
    r"\W*(?:(?:wait|actually|correction|sorry|edit|on second thoughts?|no(?=\s*[,:;.!]))\b\W*)+",
    re.IGNORECASE,
)
"""How a line begins that takes back an earlier one."""
NUMBER = r"(?<![-\u2212\u2013.,\d])(\d+(?:\.\d+)?)"
"""Without a sign, and not the end of a range."""
OUT_OF_TEN = r"(?:\s*(?:/|out of)\s*10)?"
GRADE = re.compile(rf"\W*{NUMBER}{OUT_OF_TEN}[^\w%]*", re.IGNORECASE)
GRADED = r"(?:(?:my|the) )?(?:(?:final|overall) )?(?:rating|grade|score|mark|result)(?: is)?"
GRADE_STATEMENT = re.compile(rf"\W*{GRADED}\W*{NUMBER}{OUT_OF_TEN}[^\w%]*", re.IGNORECASE)
TENTHS = re.compile(
    rf"(?<![\d./]){NUMBER}\W*(?:/|out of)\s*10(?![\d./]*\d)"
    r"(?!\s+(?!for|overall|because|since|as|due|but|and)\w)",
    re.IGNORECASE,
)
DENIED = re.compile(r"(?:\b(?:not|never|cannot|neither|nor)|n['\u2019]t)\b[^.!?\n]*\d", re.IGNORECASE)
"""A sentence that says which grade it is not."""


def read_outcome(reply: str, labels: Mapping[str, Outcome] = LABELS) -> Outcome | None:
    """Who won, `a` being the answer shown first; `None` when the reply does not say, or says both."""
    known = TIES | {label.upper(): outcome for label, outcome in labels.items()}
    known |= DEGREES if {"A", "B"} <= known.keys() else {}
    named = re.compile(rf"\W*{NAME}\W*({_either(known)}){UNGRADED}\W*", re.IGNORECASE)

    def meant(text: str) -> Outcome | None:
        found = named.fullmatch(re.sub(BOX, r"\1", text))
        return known[found[1].upper()] if found else None

    objects, rest = _objects(reply)
    stated = [meant(str(value)) for value in _fields(objects, VERDICT_FIELDS)]
    if MARKS.search(rest):
        stated.append(_marked(rest, lambda mark: known.get(mark.upper().replace(" ", "")) or meant(mark)))
    stated += [meant(text) for text in RESULT.findall(rest)]
    if BOXED.search(rest):  # boxes of anything else are of the question
        stated += [outcome for box in re.findall(BOX, rest) if (outcome := meant(box))]
    return _agreed([*stated, *_statements(rest, known)])


def read_grade(reply: str) -> float | None:
    """A grade from 1 to 10; `None` when the reply gives none, several, or one outside."""
    objects, reply = _objects(reply)
    fields = _fields(objects, GRADE_FIELDS)
    lines = _lines(reply)
    stated = [found[1] for line in lines if (found := GRADE_STATEMENT.fullmatch(line))]
    if lines and (last := GRADE.fullmatch(lines[-1])):
        stated.append(last[1])
    if fields:
        grade = _agreed(
            _number(str(each)) if isinstance(each, (int, float, str)) else None for each in fields
        )
    elif MARKS.search(reply):
        grade = _marked(reply, _number)
    elif RESULT.search(reply):
        grade = _agreed(_number(text) for text in RESULT.findall(reply))
    else:
        tenths = [] if DENIED.search(reply) else TENTHS.findall(reply)
        grade = _agreed(_number(text) for text in stated or tenths)
    return grade if grade is not None and 1 <= grade <= 10 else None  # noqa: PLR2004


def read_field(reply: str, name: str) -> Any:
    """A field of the JSON object that the reply is, in a code fence or bare; `None` when it is none."""
    return next((each[name] for each in _objects(reply)[0] if name in each), None)


def _fields(objects: Iterable[Mapping[str, Any]], names: Collection[str]) -> list[Any]:
    """The values of the fields of these names, in any case."""
    named = [(name.lower(), value) for each in objects for name, value in each.items()]
    return [value for name, value in named if name in names and value is not None]


def _objects(reply: str) -> tuple[list[dict[str, Any]], str]:
    objects, rest, place = [], [], 0
    while (start := reply.find("{", place)) >= 0:
        try:
            value, end = io.DISTINCT.raw_decode(reply, start)
        except (ValueError, RecursionError):
            value, end = None, start + 1
        objects += [value] if isinstance(value, dict) else []
        rest.append(reply[place : start if isinstance(value, dict) else end])
        place = end
    return objects, "".join([*rest, reply[place:]])


def _marked(reply: str, read: Callable[[str], T | None]) -> T | None:
    """What the `[[...]]` marks say: those of the last line, else all, provided that they agree.

    A mark in the middle of a line may be quoted; one that makes up an earlier line is a verdict too.
    """
    lines = _lines(reply)
    marks = (MARKS.findall(lines[-1]) if lines else []) or MARKS.findall(reply)
    alone = re.compile(rf"\W*(?:{STATEMENT}|{GRADED}\W*)?{MARKS.pattern}\W*", re.IGNORECASE)
    stated = [found[1] for line in lines[:-1] if (found := alone.fullmatch(line))]
    return _agreed(read(mark) for mark in (*marks, *stated))


def _statements(reply: str, known: Mapping[str, Outcome]) -> Iterator[Outcome | None]:
    """What every line says that begins as a verdict does, and a last line that is nothing but one."""
    label = rf"\(?({_either(known)})\)?{UNGRADED}"
    line_form = re.compile(rf"\W*{STATEMENT}{NAME}\W*?{label}{WINS}\W*", re.IGNORECASE)
    last_form = re.compile(
        rf"\W*(?:(?:answer|conclusion) ?:\W*{NAME})?{label}\W*|{SENTENCE}({_either(known)})\W*"
        r"|(?:it is|it's|this is) a (tie|draw)\W*",
        re.IGNORECASE,
    )
    named_form = re.compile(rf"\W*{SO}{NAME}{label}{WINS}\W*", re.IGNORECASE)
    undecided = re.compile(rf"\W*{STATEMENT}(?:none|neither|undecided|unclear|unknown|n/a)\W*", re.IGNORECASE)
    lines = _lines(reply)
    for place, whole in enumerate(lines):
        if undecided.fullmatch(whole):
            yield None
        if whole.endswith("?"):
            continue
        line = CORRECTION.sub("", whole, count=1) if CORRECTION.match(whole) else whole
        found = line_form.fullmatch(line)
        if found is None and (wins := named_form.fullmatch(line)):
            stated = " is " in wins[0] or " wins" in wins[0] or wins[1].upper() in DEGREES
            found = wins if stated or (place == len(lines) - 1 and " " in wins[0].strip()) else None
        if found is None and place == len(lines) - 1:
            found = last_form.fullmatch(line)
        if found:
            yield known[next(group for group in found.groups() if group).upper()]


def _either(known: Collection[str]) -> str:
    """A pattern of any of the labels, longer ones first."""
    return "|".join(re.escape(label) for label in sorted(known, key=len, reverse=True))


def _agreed(values: Iterable[T | None]) -> T | None:
    """The one value that all of them are; `None`: they differ, or there is none."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _number(text: str) -> float | None:
    found = GRADE.fullmatch(text)
    return float(found[1]) if found else None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
