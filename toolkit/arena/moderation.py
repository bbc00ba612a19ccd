"""Moderation: conspicuous voters with the evidence for each, and answers that name their author.

Each test gives a p-value under honest voting, corrected for all voters and tests (Bonferroni): at most 5% of
crowds should accuse anybody honest. Honest voters differ in taste: what a test expects of them, and
how far they spread, is taken from the crowd itself, so that a taste which a fifth of the voters share accuses
nobody. How many riggers are found in simulated crowds: `perf/riggers.py`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import binom, norm

from toolkit.types import POINTS, Outcome, Record, Vote, sorted_pair

if TYPE_CHECKING:
    from toolkit.arena.battles import Reveal
    from toolkit.arena.store import VoteRow

    AnyVote: TypeAlias = Vote | VoteRow

Array = NDArray[np.float64]
Places = NDArray[np.intp]

LEVEL = 0.05
"""Share of crowds in which an honest voter may be accused."""
SHARES = {"for one contestant": 0.2, "against one contestant": 0.2, "unlike the rest": 0.25}
"""Of that level, what is spent on the tests with the least power; 0.07 on each of the others."""
FEWEST = 20
"""Votes that a voter needs for the tests."""
SIDE_BIAS = 0.56
"""Share of one side that an honest voter may tend to."""
HURRIED, HURRIED_SHARE = 1.5, 0.1
"""Seconds in which nobody reads two answers, and the share of votes so fast that may happen."""
SAME_OUTCOME = 0.7
"""Share of ties, or of `both_bad`, that an honest voter may tend to."""
SKILL_SPREAD = 0.25
"""Standard deviation that honest voters' agreement with the others has at the least."""
CODES: dict[Outcome, int] = {"a": 0, "b": 1, "tie": 2, "both_bad": 3}


class Evidence(Record):
    """What is conspicuous about a voter."""

    kind: str
    detail: str
    p_value: float
    """Corrected for all voters and tests."""


class VoterReport(Record):
    """One voter's votes and what is conspicuous about them."""

    voter: str
    votes: int
    checks: int
    """Attention checks answered."""
    failed: int
    """Of these, answered wrongly."""
    seconds: float | None
    """Median time from the display of a battle to the vote."""
    evidence: tuple[Evidence, ...]
    flagged: bool
    """There is evidence, or more than half of at least two attention checks failed."""

    @property
    def p_value(self) -> float | None:
        """Of the strongest evidence; `None`: too few votes to test."""
        lowest = min((each.p_value for each in self.evidence), default=1.0)
        return None if self.votes < FEWEST else lowest


def voter_reports(votes: Sequence[AnyVote], checks: Iterable[Reveal] = ()) -> list[VoterReport]:
    """One report for each voter, the most suspicious first."""
    answered: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for reveal in checks:
        answered[reveal.ballot.voter] += 1
        failed[reveal.ballot.voter] += reveal.cast.outcome != reveal.ballot.expected
    crowd = _Crowd(votes)
    for test in (_habits, _one_contestant, _against_the_rest, _copied):
        test(crowd)
    reports = []
    for voter in dict.fromkeys([*crowd.rows, *answered]):
        own = crowd.rows.get(voter, _NONE)
        times = crowd.seconds[own][~np.isnan(crowd.seconds[own])]
        inattentive = answered[voter] > 1 and failed[voter] * 2 > answered[voter]
        reports.append(
            VoterReport(
                voter=voter,
                votes=len(own),
                checks=answered[voter],
                failed=failed[voter],
                seconds=float(np.median(times)) if len(times) else None,
                evidence=tuple(sorted(crowd.found[voter], key=lambda each: each.p_value)),
                flagged=inattentive or bool(crowd.found[voter]),
            )
        )
    return sorted(reports, key=suspicion_key)


def suspicion_key(report: VoterReport) -> tuple[bool, float, int]:
    """Sorts the most suspicious first."""
    return not report.flagged, 1.0 if report.p_value is None else report.p_value, -report.failed


_NONE = np.zeros(0, dtype=np.intp)


class _Crowd:
    """Votes as arrays, in order, and the voters with enough of them."""

    def __init__(self, votes: Sequence[AnyVote]) -> None:
        self.votes = votes
        self.outcomes = np.array([CODES[vote.outcome] for vote in votes], dtype=np.int8)
        self.voters, names = _codes([vote.voter for vote in votes])
        self.pairs, pairs = _codes([sorted_pair(vote.model_a, vote.model_b) for vote in votes])
        self.sides, self.contestants = _codes([name for pair in pairs for name in pair])
        """Of each pair its first and second contestant, one after the other."""
        self.points = np.array(
            [POINTS[v.outcome] if v.model_a < v.model_b else 1 - POINTS[v.outcome] for v in votes],
            dtype=float,
        )
        """Of the pair's first contestant."""
        self.seconds = np.array([getattr(vote, "seconds", None) for vote in votes], dtype=float)
        """NaN: not measured."""
        order = np.argsort(self.voters, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(self.voters, minlength=len(names)))[:-1])
        self.rows: dict[str, Places] = dict(zip(names, parts, strict=True)) if names else {}
        self.tested = [name for name in names if len(self.rows[name]) >= FEWEST]
        self.is_tested = np.bincount(self.voters, minlength=len(names)) >= FEWEST
        own = self.voters * len(pairs) + self.pairs
        total, mine = np.bincount(self.pairs, self.points), np.bincount(own, self.points)
        count, times = np.bincount(self.pairs), np.bincount(own)
        self.expected: Array = (total[self.pairs] - mine[own] + 1) / (count[self.pairs] - times[own] + 2)
        """Of each vote, the mean points that the other voters gave the pair's first contestant ..."""
        self._add_answers()
        """... and what they thought of these two answers."""
        self.found: defaultdict[str, list[Evidence]] = defaultdict(list)

    def _add_answers(self) -> None:
        """Move what is expected by how the other voters' points on either answer differ from its author's."""
        sides = self.sides.reshape(-1, 2)[self.pairs] if len(self.pairs) else np.zeros((0, 2), dtype=np.intp)
        examples, _ = _codes([vote.example_id for vote in self.votes])
        answers = examples[:, None] * len(self.contestants) + sides
        gaps = (self.points - self.expected)[:, None] * [1, -1]
        place = np.unique(answers, return_inverse=True)[1].reshape(answers.shape)
        sums, counts = np.bincount(place.ravel(), gaps.ravel()), np.bincount(place.ravel())
        noise = float(np.mean(gaps**2)) if len(gaps) else 1.0
        apart = float((sums**2 - counts * noise).sum() / max(1, (counts * (counts - 1)).sum()))
        shrink = noise / apart if apart > 0 else np.inf
        moved = (sums[place] - gaps) / (counts[place] - 1 + shrink)
        moved[[not vote.example_id for vote in self.votes]] = 0
        self.expected = np.clip(self.expected + moved @ [1.0, -1.0], 0.03, 0.97)

    def add(self, voter: str, kind: str, detail: str, p_value: float, times: int = 1) -> None:
        """Keep evidence whose p-value, corrected for voters, tests and `times` tries at each, is low."""
        corrected = min(1.0, p_value * max(1, len(self.tested)) * times / SHARES.get(kind, 0.07))
        if corrected <= LEVEL:
            self.found[voter].append(Evidence(kind=kind, detail=detail, p_value=corrected))


def _codes(values: Sequence[Any]) -> tuple[Places, list[Any]]:
    """Each value's number, and the values in the order in which they first occur."""
    index: dict[Any, int] = {}
    codes = np.array([index.setdefault(value, len(index)) for value in values], dtype=np.intp)
    return codes, list(index)


def _habits(crowd: _Crowd) -> None:
    """Always the same side, a tie or both bad; or votes before the answers can have been read.

    Sides are drawn by a fair coin, so that no taste makes one win more often.
    """
    drawn = np.array([getattr(vote, "kind", "") != "imported" for vote in crowd.votes], dtype=bool)
    if not crowd.tested:
        return
    usual = [max(SAME_OUTCOME, 1.2 * float(np.mean(crowd.outcomes == code))) for code in (2, 3)]
    for voter in crowd.tested:
        rows = crowd.rows[voter]
        outcomes = crowd.outcomes[rows[drawn[rows]]]
        counts = [int((outcomes == side).sum()) for side in (0, 1)]
        most, decided = max(counts), sum(counts)
        p_value = float(binom.sf(most - 1, decided, SIDE_BIAS)) if decided else 1.0
        side = "AB"[counts.index(most)]
        crowd.add(voter, "one side", f"{most} of {decided} decided votes for {side}", p_value, 2)
        for code, name, share in zip((2, 3), ("tie", "both bad"), usual, strict=True):
            count = int((crowd.outcomes[rows] == code).sum())
            p_value = float(binom.sf(count - 1, len(rows), min(share, 0.99)))
            crowd.add(voter, "one outcome", f"{count} of {len(rows)} votes: {name}", p_value, 2)
        times = crowd.seconds[rows]
        known, fast = int((~np.isnan(times)).sum()), int((times < HURRIED).sum())
        p_value = float(binom.sf(fast - 1, known, HURRIED_SHARE)) if fast else 1.0
        crowd.add(voter, "speed", f"{fast} of {known} votes within {HURRIED} s of the display", p_value)


def _one_contestant(crowd: _Crowd) -> None:
    """One contestant wins, or loses, whomever it meets, beyond what a taste for it would do.

    A voter's taste shifts the log odds of each battle; how far tastes spread is taken from the crowd. The
    p-value is Chernoff's bound for the sum of such battles, averaged over tastes.
    """
    sides = crowd.sides.reshape(-1, 2)[crowd.pairs] if len(crowd.pairs) else np.zeros((0, 2))
    on_tested = crowd.is_tested[crowd.voters]
    names = list(crowd.rows)
    for number, contestant in enumerate(crowd.contestants):
        on = np.flatnonzero((sides == number).any(axis=1) & on_tested)
        flip = sides[on, 1] == number
        points = np.where(flip, 1 - crowd.points[on], crowd.points[on])
        expected = np.where(flip, 1 - crowd.expected[on], crowd.expected[on])
        who, voter = np.unique(crowd.voters[on], return_inverse=True)
        if len(who) == 0:
            continue
        won = np.bincount(voter, points).astype(float)
        mean = np.bincount(voter, expected).astype(float)
        information = np.bincount(voter, expected * (1 - expected)).astype(float)
        spread = _taste_spread(won - mean, information)
        for p_values, kind in (
            (_tails(points, expected, voter, spread), "for one contestant"),
            (_tails(1 - points, 1 - expected, voter, spread), "against one contestant"),
        ):
            for place, p_value in enumerate(p_values.tolist()):
                detail = f"{won[place]:g} points for {contestant} in {(voter == place).sum()} battles"
                detail += f", {mean[place]:.1f} expected"
                crowd.add(names[who[place]], kind, detail, p_value, len(crowd.contestants))


def _taste_spread(gaps: Array, information: Array) -> float:
    """Standard deviation of voters' tastes for a contestant, in log odds; what 80% of them have."""
    if len(gaps) < 5:  # noqa: PLR2004
        return 0.7
    tastes = gaps / information
    low, high = np.quantile(tastes, [0.2, 0.8])
    wide = max(abs(low), abs(high)) / norm.ppf(0.8)
    return float(np.sqrt(np.clip(wide**2 - np.median(1 / information), 0.3**2, 2)))


def _tails(points: Array, expected: Array, voter: Places, spread: float) -> Array:
    """Bound on the probability of as many points, when each voter's log odds vary by `spread`: (voters,)."""
    tastes, weights = np.polynomial.hermite_e.hermegauss(15)
    tilt = np.linspace(0, 8, 33)
    odds = np.log(expected / (1 - expected))[:, None] + spread * tastes
    chance = 1 / (1 + np.exp(-odds))
    cumulants = np.log1p(chance[:, :, None] * np.expm1(tilt))
    shape = int(voter.max()) + 1, *cumulants.shape[1:]
    total = np.zeros(shape)
    np.add.at(total, voter, cumulants)
    bound = np.exp((total - tilt * np.bincount(voter, points)[:, None, None]).min(axis=2))
    return np.asarray(bound @ weights / weights.sum())


def _against_the_rest(crowd: _Crowd) -> None:
    """Agrees less with the other voters than these among themselves: random clicks, or contrary votes.

    A voter's agreement is the slope of the decided votes on the others' log odds; 0 by chance.
    """
    names, decided = list(crowd.rows), crowd.points != 0.5  # noqa: PLR2004
    odds = np.log(crowd.expected / (1 - crowd.expected)) * decided
    usual = np.bincount(crowd.voters, odds * (crowd.expected - 0.5))
    scored = np.flatnonzero(crowd.is_tested & (usual > 0)) if names else _NONE
    if len(scored) < 5:  # noqa: PLR2004
        return
    slopes = np.bincount(crowd.voters, odds * (crowd.points - 0.5))[scored] / usual[scored]
    chance = np.sqrt(np.bincount(crowd.voters, odds**2)[scored]) / 2 / usual[scored]
    middle, low = float(np.median(slopes)), float(np.quantile(slopes, 0.2))
    spread = max(SKILL_SPREAD**2, ((middle - low) / norm.ppf(0.8)) ** 2 - float(np.median(chance)) ** 2)
    deviations = (slopes - middle) / np.sqrt(spread + chance**2)
    for place, deviation, slope in zip(scored.tolist(), deviations.tolist(), slopes.tolist(), strict=True):
        detail = f"agreement with the others {slope:.2f}, of the middle voter {middle:.2f}"
        crowd.add(names[place], "unlike the rest", detail, float(norm.cdf(deviation)))


def _copied(crowd: _Crowd) -> None:
    """Two accounts with the same choices, on the same battles or click for click."""
    names = crowd.tested
    if len(names) < 2:  # noqa: PLR2004
        return
    for kind, (same, shared) in {
        "same choices on the same battles": _same_choices(crowd),
        "same clicks one after the other": _same_clicks(crowd),
    }.items():
        upper = np.triu_indices(len(names), 1)
        enough = shared[upper] >= FEWEST / 2
        if not enough.any():
            continue
        one, other = upper[0][enough], upper[1][enough]
        rates = same[one, other] / shared[one, other]
        usual = _usual_rate(rates, shared[one, other])
        p_values = binom.sf(same[one, other] - 1, shared[one, other], usual) * len(rates) / 0.07
        for index in np.flatnonzero(p_values <= LEVEL):
            pair = names[one[index]], names[other[index]]
            for voter, twin in (pair, pair[::-1]):
                count, of = int(same[one[index], other[index]]), int(shared[one[index], other[index]])
                detail = f"{count} of {of} as {twin[:12]}: {kind}"
                evidence = Evidence(kind="copied", detail=detail, p_value=min(1.0, float(p_values[index])))
                crowd.found[voter].append(evidence)


def _usual_rate(rates: Array, times: Array) -> float:
    """The rate that a tenth of honest pairs exceed, chance apart."""
    middle = float(np.median(rates))
    chance = float(np.mean(middle * (1 - middle) / times))
    low = float(np.quantile(rates, 0.1))
    spread = max(0.05**2, ((middle - low) / norm.ppf(0.9)) ** 2 - chance)
    return float(np.clip(middle + norm.ppf(0.9) * spread**0.5, 0.5, 0.95))


def _same_choices(crowd: _Crowd) -> tuple[Array, Array]:
    """For each two voters: battles on which both chose the same contestant, and battles both voted on."""
    place = np.cumsum(crowd.is_tested) - 1
    examples, names = _codes([vote.example_id for vote in crowd.votes])
    known = np.array([bool(name) for name in names])
    on = np.flatnonzero(crowd.is_tested[crowd.voters] & known[examples])
    _, battles = np.unique(examples[on] * (crowd.pairs.max() + 1) + crowd.pairs[on], return_inverse=True)
    shape = len(crowd.tested), int(battles.max(initial=0)) + 1

    def matrix(chosen: Any) -> Any:
        ones = np.ones(int(chosen.sum()), dtype=np.int32)
        met = csr_matrix((ones, (place[crowd.voters[on[chosen]]], battles[chosen])), shape=shape)
        met.data[:] = 1
        return met

    points = crowd.points[on]
    every = matrix(points >= 0)
    same = sum((m @ m.T).toarray() for value in (0.0, 0.5, 1.0) for m in [matrix(points == value)])
    return np.asarray(same), np.asarray((every @ every.T).toarray())


def _same_clicks(crowd: _Crowd) -> tuple[Array, Array]:
    """For each two voters: places in their sequences of votes with the same outcome, and places both have."""
    longest = min(500, max(len(crowd.rows[name]) for name in crowd.tested))
    clicks = np.full((len(crowd.tested), longest), -1, dtype=np.int8)
    for index, name in enumerate(crowd.tested):
        own = crowd.outcomes[crowd.rows[name][:longest]]
        clicks[index, : len(own)] = own
    there = (clicks >= 0).astype(np.float32)
    same = np.zeros((len(clicks), len(clicks)), dtype=np.float32)
    for code in CODES.values():
        chosen = (clicks == code).astype(np.float32)
        same += chosen @ chosen.T
    return np.asarray(same, dtype=float), np.asarray(there @ there.T, dtype=float)


# Answers that identify their author

NATIVE = (
    *(
        "\uc81c\ubbf8\ub098\uc774",
        "\ud074\ub85c\ub4dc",
        "\ucc57gpt",
        "\u30af\u30ed\u30fc\u30c9",
        "\u0643\u0644\u0648\u062f",
    ),
    *("\u901a\u4e49\u5343\u95ee", "\u6587\u5fc3\u4e00\u8a00", "\u8c46\u5305"),
)
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

_CALLED = (
    r"my (?:(?:model|full|own) )?name is|the name(?: is|['\u2019]s)|"
    r"(?:you (?:can|may) |just |please )?call me|"
    r"(?:they|people|users) (?:call|know) me(?: as)?|i(?: am|['\u2019]m) (?:called|known as)|i go by|"
    r"i (?:was|have been) (?:given the name|named|called)|me llamo|mi nombre es|(?:puedes )?llamarme|"
    r"puedes llamarme|je m['\u2019]appelle|mon nom est|moi, c['\u2019]est|ich hei(?:\u00df|ss)e|"
    r"mein name ist|"
    r"meu nome \u00e9|eu me chamo|mi chiamo|il mio nome \u00e8|"
    r"\u043c\u0435\u043d\u044f \u0437\u043e\u0432\u0443\u0442|"
    r"\u6211\u53eb|\u6211\u7684\u540d\u5b57\u662f|\u79c1\u306e\u540d\u524d\u306f"
)
_SELF = (
    r"(?:i am|i['\u2019]m|it['\u2019]s me|i happen to be|i,|soy|je suis|ich bin|eu sou|sou|sono|\u044f)"
    r"(?![\w'])"
    r"|\u6211\u662f|\u79c1\u306f"
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
    r"d\u00e9velopp\u00e9e?|trainiert|entwickelt|erstellt|treinad[oa]|criad[oa]|addestrat[oa]|creat[oa]|sviluppat[oa])"
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
        rf"(?:{_CALLED}):? {_LITTLE}{_NAME}",
        rf"(?:this is|ici) {_NAME}(?=[.,!]| speaking| here|$)",
        rf"{_NAME} here(?=[.,!]|$)|(?:greetings|yours|regards) from {_NAME}|signed,? {_NAME}",
        rf"you(?:['\u2019]re| are) (?:now )?(?:talking|speaking|chatting) (?:to|with) {_NAME}",
        rf"this {_TEXT} (?:was|is) (?:written|generated|given|brought to you) by {_NAME}",
        rf"(?:{_SELF}){_NOT},? ?(?:{_LITTLE}{_KIND},? {_LITTLE})?{_ADVERBS}{_NAME}(?! (?:user|fan)s?\b)",
        rf"(?:{_SELF}) (?:an? |the )?(?:{MAKERS})(?:['\u2019]s)? (?:\w+ )?(?:{_KIND}|{_NAME})",
        rf"(?:\uc800\ub294|\ub098\ub294) .{{0,30}}{_NAME} ?(?:\uc785\ub2c8\ub2e4|\uc608\uc694)",
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
        rf"(?:{_MY})\b,? {_LITTLE}(?:is|are|at|was|by|est|es|ist|,) {_LITTLE}(?:{MAKERS})\b",
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
