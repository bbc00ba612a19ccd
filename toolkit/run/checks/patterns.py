# ruff: noqa: RUF001 - letters of other scripts are meant
"""Text patterns that indicate faulty rows, and the finding reported for each."""

import re
from dataclasses import dataclass

from toolkit.run.checks import Find, error, info, warning

HIGH = "[\u0080-\u00bf\u0152-\u0178\u02c6\u02dc\u2013-\u2122]"
"""What bytes from 0x80 to 0xbf are in Latin-1 and Windows-1252."""

MOJIBAKE = re.compile(
    f"\ufffd|[ÃÂ]{HIGH}|(?:[ÐÑ]{HIGH}){{2}}|(?:[ãåæçèéä]{HIGH}{HIGH}){{2}}|â{HIGH}{HIGH}|(?:ã{HIGH}{{1,2}}){{3}}|â€[\u0080-\uffff]|ðŸ|ï»¿|锟斤|烫烫烫"
    "|(?:[РС][\u00a0-\u00bf\u0402-\u040f\u0452-\u045fЄІЇієїґҐ\u2013-\u2122]){3}"
)
"""Bytes lost in decoding, or UTF-8 read as Latin-1, Windows-1252, Windows-1251 or GBK."""

INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u2028-\u202e\u2060-\u206f\ufeff"
    "\U000e0000-\U000e007f]"
)
"""Joiners (U+200C, U+200D) are not among them: scripts and emoji need them."""

DIRECTION = re.compile("[\u200e\u200f]")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

HTML = re.compile(
    r"""&(?:amp|lt|gt|quot|apos|nbsp|[lr][sd]quo|[mn]dash|hellip|deg|euro|pound|copy|reg|trade|middot|bull|[lr]aquo
    |szlig|[aA][eE]lig|plusmn|frac\d\d|[lr]arr|[a-zA-Z](?:acute|grave|circ|uml|tilde|cedil|ring|slash|caron)
    |\#\d{1,6}|\#[xX][\da-fA-F]{1,5});
    |<br\ ?/?>|</(?:p|div|span|b|i|a|li|strong|em|h[1-6]|td|ul|table)>""",
    re.VERBOSE,
)

CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
"""Where Markdown shows code, in which markup and escapes are meant."""

MARKUP = re.compile(
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"
    r"|<\|\w{2,40}\|>|<｜[^｜>]{2,30}｜>|</?(?:start|end)_of_(?:turn|text)>|\A<s>|</s>\s*\Z|<(?:eos|bos)>"
    r"|^\#{2,3}\ ?(?:Instruction|Response|Input|Human|Assistant|User)(?::|\s*$)",
    re.MULTILINE,
)
SPEAKER = re.compile(r"(?:^|\n)(?:Human|User|Assistant|AI|Bot): |\b(?:USER|ASSISTANT): ")
"""Two different ones in a row are a conversation typed into one turn."""

OWN_NAME = re.compile(r"\s*(?:Assistant|ASSISTANT|AI|Bot|Model): ")
"""What an answer begins with where a template's name of the speaker was left in."""

LITERAL = re.compile(
    r"""(?<![A-Z]:)(?<![\s\\])(?:\\n(?!(?:eq?|u|ot(?:in)?|abla|i|ewline|eg|[ew]arrow|leq|geq|mid|exists|atural|sim|less|cong
    |subset\w*|ewcommand|orm\w*|olimits|onumber|parallel|prec|succ|ew)(?![a-zA-Z])) | \\u[\da-fA-F]{4})""",
    re.VERBOSE,
)
"""Escapes that were not undone; LaTeX's commands are none."""

PLACEHOLDER = re.compile(
    r"""\W*(?: todo | tbd | tba | fixme | n/?a | null | nan | undefined | placeholder | x{3,} | asdf+
    | lorem\ ipsum.*
    | (?:your\ |no\ )?(?:answer|response)(?:\ goes)?(?:\ here|\ provided|\ given|\ available)? | coming\ soon
    | (?:see|same\ as|as)\ above | ditto | (?:http\ )?error:?\ [45]\d\d\b.*
    | to\ be\ (?:done|determined|added|written)
    | none\ given )\W* | [.?_\-…\s]+""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
"""A whole answer that is none."""

FILL_IN_SIGNS = ("[", "{", "<", "(", "lorem")
FILL_IN = re.compile(
    r"""[\[{<](?: insert | your | enter | add | fill[ -]in | company | customer | name | date
    | placeholder | todo )\b[^\]})>\n]{0,40}[\]}>]
    | \((?:insert|your\ name|fill[ -]in|placeholder|todo)\b[^)\n]{0,40}\) | \blorem\ ipsum\b
    | \{\{\ ?\w+\ ?\}\} | (?<![\w\\}^"'])\$?\{(?:[a-z]+_)?(?:name|email|address|company)\}""",
    re.IGNORECASE | re.VERBOSE,
)
"""A gap in an answer."""

MODEL = r"(?:ai|artificial\ intelligence|(?:large\ )?language\ model|virtual\ assistant)\b"
BOILERPLATE_SIGNS = (
    *(" ai", "model", "last ", "cut", "train"),
    *("chatgpt", "gpt-", "claude", "gemini", "openai", "personal "),
)
BOILERPLATE = re.compile(
    rf"""\bas\ an?\ {MODEL} | \b(?:i'm|i\ am)\ (?:just\ |only\ |merely\ )?an?\ {MODEL}
    | \b(?:as|i'm|i\ am)\ (?:chatgpt|gpt-\d\w*|claude|gemini|bard)\b,?\ (?:i\b|an?\ {MODEL})
    | \bi(?:'m|\ am)\ (?:chatgpt|gpt-\d) | \bi\ (?:don't|do\ not)\ have\ personal\ \w+s\b
    | \b(?:trained|created|developed|made)\ by\ (?:openai|anthropic|google|meta|deepseek|alibaba|mistral)\b
    | (?:knowledge|training)\ (?:data\ )?cut-?off | \bas\ of\ my\ last\ (?:update|knowledge|training)
    | \bmy\ (?:training\ data|knowledge)\ (?:only\ |is\ |was\ )*
    (?:goes|ends|extends|limited|last\ updated|stops)""",
    re.VERBOSE,
)
"""In lower case, with straight apostrophes; so is what follows."""

CANNOT = r"""(?:can't|cannot|can\ not|unable|won't|will\ not|not\ able|couldn't|not\ comfortable|refuse
    |rather\ not)"""
SORRY = r"""lo\ siento|es\ tut\ mir\ leid|(?:je\ suis\ )?désolée?|mi\ dispiace|desculpe|sinto\ muito|lamento
    |извините|простите|к\ сожалению|很?抱歉|对不起|申し訳"""
CANNOT_ELSEWHERE = r"no\ puedo|nicht|peux\ pas|non\ posso|não\ posso|не\ мог|不能|无法|できません"
REFUSAL = re.compile(
    rf"""\W*(?:(?:i'm|i\ am|we're|we\ are)(?:\ very|\ so|\ really)?\ sorry|sorry|i\ apologi[sz]e|apologies
    |unfortunately|i'm\ afraid)\b[^.\n]{{0,60}}?\b{CANNOT}\b
    | \W*(?:as\ an\ ai\b[^.\n]{{0,40}})?\bi(?:'m|\ am|'d|\ would|(?:\ will)?\ have\ to|\ must|\ need\ to)?\ ?
    (?:respectfully\ )?(?:{CANNOT}|decline)\b
    (?:\ (?:be\ able\ to|to|help|assist|provid|fulfil|comply|do|answer|support|creat|generat|discuss|continu
    |giv|offer|with|that|this|shar|writ|engag|respond)(?:e|l|ing)?\b|[.!])
    | \W*it\ (?:would|is)\ (?:not|n't)\ (?:be\ )?(?:appropriate|ethical|right)\ for\ me\b
    | \W*(?:it's|that's|this\ is|this\ goes)\ against\ my\ (?:guidelines|programming|polic(?:y|ies))\b
    | \W*my\ (?:guidelines|programming|polic(?:y|ies))\ (?:prevent|prohibit|forbid|do\ not|don't)\b
    | \W*(?:{SORRY})[^.\n。]{{0,40}}(?:{CANNOT_ELSEWHERE})
    | \W*(?:no\ puedo|je\ ne\ peux\ pas|non\ posso|não\ posso|я\ не\ могу|我(?:不能|无法))[^.\n。]{{0,40}}
    (?:ayudar|aider|répondre|aiutar|ajudar|responder|rispondere|помочь|ответить|帮助|回答|提供)
    | \W*ich\ kann\b[^.\n]{{0,40}}\bnicht\ (?:helfen|beantworten)""",
    re.VERBOSE,
)

SCORED = re.compile(r"score|rating|reward|grade|quality|logit|points|preference|votes|overall|helpful", re.I)
LOWER_IS_BETTER = re.compile(
    r"rank|loss|nll|perplex|tox|harm|len|token|penalt|error|count|order|index|id$", re.I
)
"""Names of columns that score the sides of a pair."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault: how bad, what it is, and what to do."""

    text: str  # with `{n}` rows of `{all}`, and `{shown}`
    fix: str
    severity: Find = warning
    share: float = 0.0  # of all rows, above which it counts as that; below it is only info


MESSAGES = "give messages, not text that a template has made"
ALTERNATE = "follow each other; most templates were trained on turns that alternate"

FAULTS = {
    "mojibake": Fault("holds {shown}: decoded as another encoding", "read the file in its actual encoding"),
    "invisible": Fault("holds the invisible character {shown}, which is learned too", "take it out"),
    "html": Fault("holds HTML ({shown}), as it stands", "unescape it, unless HTML is wanted"),
    "foreign-template": Fault("the text holds {shown}, the mark of another chat template", MESSAGES),
    "template-in-text": Fault(
        "the text holds the special token {shown}, which would end or begin a turn inside it",
        MESSAGES,
        severity=error,
    ),
    "secret": Fault("holds what looks like a secret, {shown}", "take it out, and revoke it"),
    "carriage-return": Fault(
        "holds carriage returns, which are learned", "turn \\r\\n into \\n", severity=info
    ),
    "literal-newline": Fault(
        "an answer holds {shown} as characters in place of what it stands for", "unescape it once"
    ),
    "placeholder": Fault("an answer is a placeholder: {shown}", "fill it in, or drop the row"),
    "repetition": Fault(
        "an answer repeats a passage over and over, and so will the trained model", "cut it, or drop the row"
    ),
    "boilerplate": Fault(
        "an answer speaks as an AI model ({shown}): so will the trained one", "rewrite it, unless it is meant"
    ),
    "refusal": Fault(
        "{n} of {all} answers refuse, such as {shown}", "drop those that refuse without need", share=0.05
    ),
    "prompt-in-answer": Fault(
        "an answer begins with its own prompt, which is there twice", "take it out of the answer"
    ),
    "open-thinking": Fault("an answer is all thinking (<think>) and no answer", "drop the row"),
    "nearly-same": Fault(
        "chosen and rejected differ in case, spaces and punctuation only: there is hardly anything to prefer",
        "drop the row",
    ),
    "no-question": Fault("no user turn comes before the answer", "add the user's turn"),
    "turns-user": Fault(f"two user turns {ALTERNATE}", "join them, or put the answer between them"),
    "turns-assistant": Fault(
        f"two assistant turns {ALTERNATE}", "join them, or put the question between them"
    ),
    "turns-system": Fault("a system turn stands after the first turn", "put it first"),
    "outer-space": Fault(
        "{n} of {all} answers begin or end with spaces or empty lines, and that is learned too",
        "strip the answers",
        share=0.5,
    ),
}
"""Code -> fault, in the order they are listed."""
