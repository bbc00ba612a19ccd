"""Detect answers that reveal which model wrote them."""

import re
from collections.abc import Sequence
from functools import lru_cache

NATIVE = (
    "\uc81c\ubbf8\ub098\uc774 \ud074\ub85c\ub4dc \ucc57gpt \u30af\u30ed\u30fc\u30c9 \u0643\u0644\u0648\u062f "
    "\u901a\u4e49\u5343\u95ee \u6587\u5fc3\u4e00\u8a00 \u8c46\u5305"
).split()
MODELS = (
    r"smollm\d?|tinyllama|llama|alpaca|vicuna|qwen|gemma|gemini|bard|mistral|mixtral|phi-?[1-9]|falcon|olmo|"
    r"pythia|chatgpt|gpt-?[2-9]|davinci|deepseek|yi-\d+b|grok|command-r|zephyr|dolly|koala|guanaco|"
    r"claude(?!(?-i: (?!Sonnet|Opus|Haiku|Instant|AI\b)[A-Z]))|"
    r"bloom|copilot|ernie|kimi|glm|nova|granite|stablelm|wizardlm|openassistant|baichuan|internlm|"
    + "|".join(NATIVE)
)
MAKERS = (
    r"openai|anthropic|google(?: ai| deepmind| research)?|deepmind|meta(?: ai)?|facebook(?: ai)?|deepseek|"
    r"xai|mistral(?: ai)?|alibaba(?: cloud| group)?|hugging ?face|microsoft(?: research)?|stability ai|"
    r"lmsys|tsinghua(?: university)?|cohere|nvidia|ibm|apple|amazon|baidu|moonshot ai|eleutherai|ai2"
)

_NAME = rf"(?<![a-z\d_-])(?:{MODELS})(?:[ .-]?\d+(?:\.\d+)?[a-z]*)?(?![a-z\d_])"
_LITTLE = r"(?:[^\W\d_]+(?:['\u2019-][^\W\d_]+)?,? ){0,6}?"
"""A few words of the same clause."""
_WORDS = r"(?:(?!(?:and|und|et|y|e) )[^\W\d_]+(?:['\u2019-][^\W\d_]+)? ){0,6}?"

_CALLED = (
    r"my (?:(?:model|full|own) )?name is|the name(?: is|['\u2019]s)|"
    r"(?:you (?:can|may) |just |please )?call me|"
    r"(?:they|people|users) (?:call|know) me(?: as)?|i(?: am|['\u2019]m) (?:called|known as)|i go by|"
    r"i (?:was|have been) (?:given the name|named|called)|me llamo|mi nombre es|(?:puedes )?llamarme|"
    r"puedes llamarme|je m['\u2019]appelle|mon nom est|moi, c['\u2019]est|ich hei(?:\u00df|ss)e|"
    r"mein name ist|"
    r"meu nome \u00e9|eu me chamo|mi chiamo|il mio nome \u00e8|"
    r"\u043c\u0435\u043d\u044f \u0437\u043e\u0432\u0443\u0442|"
    r"\u6211\u53eb|\u6211\u7684\u540d\u5b57\u662f"
)
_SELF = (
    r"(?:i am|i['\u2019]m|it['\u2019]s me|i happen to be|i,|soy|je suis|ich bin|eu sou|sou|sono|\u044f)"
    r"(?![\w'])"
    r"|\u6211\u662f"
)
_ADVERBS = (
    r"(?:(?:just|still|actually|indeed|really|called|named|known|as|the|an?|o|el|il|le|la|der|die|das|"
    r"one of|part of|version|variant|member|your|friendly|assistant|model|family|of|fine-tuned)[ ,]+)*"
)
_AS = r"(?:as|als|como|en tant que|come|being|speaking as) "
_KIND = (
    r"(?:ai|a\.i\.|artificial|language|chat|large|virtual|digital|assistant|asistente|model|modelo|modello|"
    r"mod\u00e8le|inteligencia|bot|chatbot|llm|ki|ia|idioma|langue|sprach\w*)"
)
_MADE = (
    r"(?:created|made|built|developed|trained|designed|released|fine-tuned|provided|owned|programmed|"
    r"entren(?:ad[oa]|\u00f3)|cre(?:ad[oa]|\u00f3)|desarroll(?:ad[oa]|\u00f3)|entra\u00een\u00e9e?|cr\u00e9\u00e9e?|"
    r"d\u00e9velopp\u00e9e?|con\u00e7ue?|programm\u00e9e?|trainiert|entwickelt|erstellt|programmiert|dise\u00f1ad[oa]|treinad[oa]|"
    r"criad[oa]|desenvolvid[oa]|addestrat[oa]|creat[oa]|sviluppat[oa]|progettat[oa])"
)
_WAS = rf"{_SELF}|i was|i have been|i['\u2019]ve been|fui|sono stat[oa]|j['\u2019]ai \u00e9t\u00e9|ich wurde"
_BY = r"(?:by|at|from|of|von|por|pelo|pela|par|da|dalla|di)"
_MY = (
    r"my (?:creators?|developers?|makers?)|the (?:team|company|people) (?:that|who|which|behind) (?:\w+ )?me|"
    r"mon cr\u00e9ateur|mi creador|mein(?:e)? (?:sch\u00f6pfer|entwickler)"
)
_NOT = r"(?! ?(?:not|no|talking|asking|looking|reading|using|writing|comparing|happy|sure|going)\b)"
_TEXT = r"(?:answer|reply|response|text|message)"

_CLAIMS = [
    re.compile(rf"(?<![\w'\"\u201c\u201e\u00ab(])(?:{pattern})", re.IGNORECASE)
    for pattern in (
        rf"(?:{_CALLED}):? {_WORDS}{_NAME}",
        rf"(?:\u6211(?:\u662f|\u53eb|\u7684\u540d\u5b57\u662f)|\u4f5c\u4e3a)[^\uff0c\u3002,.\u7528]{{0,12}}?{_NAME}(?!\u7684)",
        rf"\u79c1(?:\u306f|\u306e\u540d\u524d\u306f)[^\u3001\u3002]{{0,12}}?{_NAME}[^\u3001\u3002\u3092\u306e]{{0,8}}(?:\u3067\u3059|\u7533\u3057\u307e\u3059)",
        rf"(?:\u4f5c\u4e3a|\u79c1\u306f|[\uc800\ub098]\ub294 )[^\uff0c\u3001\u3002\u7528]{{0,4}}(?:{MAKERS})"
        r"[^\uff0c\u3002]{0,16}(?:\u6a21\u578b|\u52a9\u624b|\u30e2\u30c7\u30eb|\u30a2\u30b7\u30b9\u30bf\u30f3\u30c8|\ubaa8\ub378)",
        rf"als von (?:{MAKERS}) \w+ (?:\w+ )?{_KIND}",
        rf"(?:this is|ici) {_NAME}(?=[.,!]| speaking| here|$)",
        rf"{_NAME} here(?=[.,!]|$)|(?:greetings|yours|regards) from {_NAME}|signed,? {_NAME}",
        rf"you(?:['\u2019]re| are) (?:now )?(?:talking|speaking|chatting) (?:to|with) {_NAME}",
        rf"this {_TEXT} (?:was|is) (?:written|generated|given|brought to you) by {_NAME}",
        rf"(?:{_SELF}){_NOT},? ?(?:{_LITTLE}{_KIND},? {_LITTLE})?{_ADVERBS}{_NAME}(?! (?:user|fan)s?\b)",
        rf"(?:{_SELF}) (?:an? |the )?(?:{MAKERS})(?:['\u2019]s)? (?:\w+ )?(?:{_KIND}|{_NAME})",
        rf"(?:[\uc800\ub098]\ub294|\uc81c \uc774\ub984\uc740) .{{0,30}}{_NAME}"
        r" ?(?:\uc785\ub2c8\ub2e4|\uc608\uc694)",
        rf"\u0623\u0646\u0627 {_NAME}",
        rf"my (?:underlying |base )?model is {_NAME}",
        rf"the model (?:that is )?(?:answering|replying|talking|behind)[^.]{{0,25}} is {_NAME}",
        rf"powered by {_NAME}, i\b|{_NAME} \(that['\u2019]s me\)",
        rf"{_AS}(?:an? |the )?{_KIND} (?:from|of|in) the {_NAME}",
        rf"i belong to (?:the )?{_NAME} (?:family|models)",
        rf"i (?:run on|am (?:powered by|based on|built (?:on|upon)(?: top of)?)) {_NAME}",
        rf"i['\u2019]m (?:powered by|based on|built (?:on|upon)(?: top of)?) (?:the )?{_NAME}",
        rf"(?<![a-z,] ){_AS}(?:the |your (?:\w+ )?)?{_NAME}(?=,)",
        rf"{_AS}(?:an? )?(?:{MAKERS}) {_KIND}",
        rf"{_AS}(?:an? |the )?(?:\w+ ){{0,3}}{_KIND},? (?:{_LITTLE}{_MADE} )?{_BY} (?:the )?(?:{MAKERS})\b",
        rf"(?:{_WAS}) ?{_LITTLE}{_MADE} {_LITTLE}{_BY} {_LITTLE}(?:{MAKERS})\b",
        rf"(?:{_SELF}) (?:an? |the |ein )?(?:\w+ ){{0,3}}{_KIND},? (?:\w+ )?{_BY} (?:{MAKERS})\b",
        rf"ich wurde von (?:{MAKERS})\b|i come from (?:{MAKERS})(?=[,.])",
        rf"(?:{_MY})\b(?:, |,? {_LITTLE}(?:is|are|at|was|by|est|es|ist|,) {_LITTLE})(?:{MAKERS})\b",
        rf"my (?:training|knowledge)\b {_LITTLE}{_BY} (?:{MAKERS})\b",
        rf"i owe (?:my existence|it all) to (?:{MAKERS})\b",
        rf"(?:{MAKERS})(?:,? (?:has|have|who|which|hat|m['\u2019]a|me|mich|ha))* ?{_MADE} (?:me|mich)"
        r"(?=\W*$|[.,;:!?)]| (?:and|so|as|to (?:be|help|assist|answer|refuse)|in|with|for|on|but|by)\b)",
        rf"(?:{MAKERS}) (?:hat mich|me|m['\u2019]a) {_MADE}|me {_MADE} (?:{MAKERS})\b",
        rf"(?:{MAKERS}), my (?:creator|developer|maker)",
        rf"(?:{MAKERS})(?: ai)? is the (?:company|team|lab) (?:behind|that \w+) me\b",
        rf"\u6211\u662f.{{0,20}}\u7531(?:{MAKERS}|\u963f\u91cc|\u6df1\u5ea6\u6c42\u7d22)",
        r"\u6211\u662f.{0,20}(?:\u963f\u91cc|\u6df1\u5ea6\u6c42\u7d22|\u767e\u5ea6|\u667a\u8c31).{0,4}\u7684?.{0,6}\u6a21\u578b",
    )
]


_HINTS = (
    *re.findall(r"(?<![^|])[a-z]+\d?(?!\?)", f"{MODELS}|{MAKERS}"),
    *NATIVE,
    *("\u963f\u91cc", "\u6df1\u5ea6", "\u667a\u8c31"),
)
"""Without any of these an answer cannot match a claim."""


def reveals_identity(answer: str, contestants: Sequence[str]) -> bool:
    """Whether an answer claims in the first person to be a model or of a maker, or names a contestant."""
    return identity_match(answer, contestants) is not None


def identity_match(answer: str, contestants: Sequence[str]) -> str | None:
    """The words in which an answer names its author, or `None`.

    A claim counts in the first person only ("I am Qwen", "I was trained by Meta"): a text about models says
    nothing of its author. A contestant's name with a digit, hyphen or underscore in it (`tinyllama-dpo`)
    counts wherever it stands; one that is also a word (`base`) in an introduction only.
    """
    lowered = answer.lower()
    patterns = _CLAIMS if any(hint in lowered for hint in _HINTS) else []
    named = [_named_pattern(name) for name in contestants if name.lower() in lowered]
    for pattern in [*patterns, *named]:
        if found := pattern.search(answer):
            return found.group()
    return None


@lru_cache(maxsize=1000)
def _named_pattern(contestant: str) -> re.Pattern[str]:
    name = rf"(?<![\w-]){re.escape(contestant)}(?![\w-])"
    introduced = rf"(?:{_SELF}|{_CALLED})\s+(?:the\s+|called\s+|model\s+)*{name}"
    return re.compile(name if re.search(r"[\d_-]", contestant) else introduced, re.IGNORECASE)
