"""Signs of faults in the text of rows, and what is said of each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.run.checking.findings import error, info, warning
from toolkit.types import Finding

MOJIBAKE = re.compile("\ufffd|[ÃÂ][\u0080-\u00bf\u0152-\u0178\u2013-\u2122]|â€[\u0080-\uffff]|ðŸ|ï»¿")
"""Bytes lost in decoding, or UTF-8 read as Latin-1 or Windows-1252."""

INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u2028-\u202e\u2060-\u206f\ufeff"
    "\U000e0000-\U000e007f]"
)
"""Joiners (U+200C, U+200D) are not among them: scripts and emoji need them."""

DIRECTION = re.compile("[\u200e\u200f]")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

HTML = re.compile(
    r"&(?:amp|lt|gt|quot|apos|nbsp|[lr][sd]quo|[mn]dash|hellip|\#\d{1,6}|\#x[\da-fA-F]{1,5});"
    r"|<br\ ?/?>|</(?:p|div|span|b|i|a|li|strong|em)>"
)

MARKUP = re.compile(
    r"\[/?INST\]|<</?SYS>>|<\|[a-zA-Z_]{2,24}\|>|</?(?:start|end)_of_(?:turn|text)>"
    r"|^\#{2,3}\ ?(?:Instruction|Response|Input|Human|Assistant|User):?",
    re.MULTILINE,
)
SPEAKER = re.compile(r"(?:^|\n)(?:Human|USER|User|ASSISTANT|Assistant|AI|Bot): ")
"""Two different ones in a row are a conversation typed into one turn."""

SECRET = re.compile(
    r"""\bsk-[A-Za-z0-9_-]{20,} | \bhf_[A-Za-z0-9]{25,} | \bAKIA[0-9A-Z]{16}\b | \bgh[pousr]_[A-Za-z0-9]{30,}
    | \bxox[abprs]-[\w-]{10,} | \bAIza[\w-]{35} | \bglpat-[\w-]{20} | \b[rs]k_live_\w{20,}
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY----- | \beyJ[\w-]{15,}\.eyJ[\w-]{15,}\.""",
    re.VERBOSE,
)

SECRET_SIGNS = (
    "sk-",
    "hf_",
    "AKIA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "xox",
    "AIza",
    "glpat",
    "k_live_",
    "PRIVATE",
    "eyJ",
)
"""Texts without one of them need not be searched."""

PLACEHOLDER = re.compile(
    r"""\W*(?: todo | tbd | tba | fixme | n/?a | null | nan | undefined | placeholder | x{3,} | asdf+
    | lorem\ ipsum.*
    | (?:your\ |no\ )?answer(?:\ goes)?(?:\ here)? | coming\ soon
    | to\ be\ (?:done|determined|added|written)
    | none\ given )\W* | [.?_\-…\s]+""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
"""A whole answer that is none."""

FILL_IN_SIGNS = ("[", "{", "<", "(", "lorem")
FILL_IN = re.compile(
    r"""[\[{<(](?: insert | your | enter | add | fill[ -]in | company | customer | name | date
    | placeholder | todo )\b[^\]})>\n]{0,40}[\]})>] | \blorem\ ipsum\b | \{\{\ ?\w+\ ?\}\}""",
    re.IGNORECASE | re.VERBOSE,
)
"""A gap in an answer."""

MODEL = r"(?:ai|artificial\ intelligence|(?:large\ )?language\ model|virtual\ assistant)\b"
BOILERPLATE = re.compile(
    rf"""\bas\ an?\ {MODEL} | \bi(?:'m|\ am)\ (?:just\ |only\ |merely\ )?an?\ {MODEL}
    | (?:knowledge|training)\ (?:data\ )?cut-?off | \bas\ of\ my\ last\ (?:update|knowledge|training)""",
    re.VERBOSE,
)
"""In lower case, with straight apostrophes; so is what follows."""

CANNOT = r"(?:can't|cannot|can\ not|unable|won't|will\ not|not\ able|couldn't|not\ comfortable|refuse)"
REFUSAL = re.compile(
    rf"""\W*(?:(?:i'm|i\ am|we're|we\ are)(?:\ very|\ so|\ really)?\ sorry|sorry|i\ apologi[sz]e|apologies
    |unfortunately|i'm\ afraid)\b[^.\n]{{0,60}}?\b{CANNOT}\b
    | \W*(?:as\ an\ ai\b[^.\n]{{0,40}})?\bi(?:'m|\ am|\ have\ to)?\ ?(?:{CANNOT}|decline)\b
    (?:\ (?:to|help|assist|provide|fulfil|comply|do|answer|support|create|generate|discuss|continue|give|offer
    |with|that|this|share|write|engage|respond)\b|[.!])""",
    re.VERBOSE,
)

SCORED = re.compile(r"score|rating|reward|grade|quality|logit|points|preference|votes", re.IGNORECASE)
LOWER_IS_BETTER = re.compile(
    r"rank|loss|nll|perplex|tox|harm|len|token|penalt|error|count|order|index|id$", re.I
)
"""Names of columns that score the sides of a pair."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault: how bad, what it is, and what to do."""

    severity: Callable[[str, str, str, str], Finding]
    text: str
    """With `{n}` rows of `{all}`, and `{shown}`."""
    fix: str
    share: float = 0.0
    """Of all rows, above which it counts as that; below it is only info."""


MESSAGES = "give messages, not text that a template has made"
ALTERNATE = "follow each other; most templates were trained on turns that alternate"

FAULTS = {
    "mojibake": Fault(warning, "holds {shown}: decoded as another encoding", "read the file as what it is"),
    "invisible": Fault(warning, "holds the invisible character {shown}, which is learned too", "take it out"),
    "html": Fault(warning, "holds HTML ({shown}), as it stands", "unescape it, unless HTML is wanted"),
    "foreign-template": Fault(warning, "the text holds {shown}, the mark of another chat template", MESSAGES),
    "template-in-text": Fault(
        error, "the text holds the special token {shown}, which would end or begin a turn inside it", MESSAGES
    ),
    "secret": Fault(warning, "holds what looks like a secret, {shown}", "take it out, and revoke it"),
    "carriage-return": Fault(info, "holds carriage returns, which are learned", "turn \\r\\n into \\n"),
    "literal-newline": Fault(
        warning, "an answer holds \\n as two characters in place of a line break", "unescape it once"
    ),
    "placeholder": Fault(warning, "an answer is a placeholder: {shown}", "fill it in, or drop the row"),
    "boilerplate": Fault(
        warning,
        "an answer speaks as an AI model ({shown}): so will the trained one",
        "rewrite it, unless it is meant",
    ),
    "refusal": Fault(
        warning,
        "{n} of {all} answers refuse, such as {shown}",
        "drop those that refuse without need",
        share=0.05,
    ),
    "prompt-in-answer": Fault(
        warning, "an answer begins with its own prompt, which is there twice", "take it out of the answer"
    ),
    "open-thinking": Fault(warning, "an answer is all thinking (<think>) and no answer", "drop the row"),
    "nearly-same": Fault(
        warning,
        "chosen and rejected differ in case, spaces and punctuation only: there is hardly anything to prefer",
        "drop the row",
    ),
    "no-question": Fault(warning, "no user turn comes before the answer", "add what was asked"),
    "turns-user": Fault(warning, f"two user turns {ALTERNATE}", "join them, or put the answer between them"),
    "turns-assistant": Fault(
        warning, f"two assistant turns {ALTERNATE}", "join them, or put the question between them"
    ),
    "turns-system": Fault(warning, "a system turn stands after the first turn", "put it first"),
    "outer-space": Fault(
        warning,
        "{n} of {all} answers begin or end with spaces or empty lines, and that is learned too",
        "strip the answers",
        share=0.5,
    ),
}
"""Code -> fault, in the order they are listed."""
