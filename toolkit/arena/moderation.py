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
from scipy.stats import betabinom, binom, norm

from toolkit.types import POINTS, Outcome, Record, Vote, sorted_pair

if TYPE_CHECKING:
    from toolkit.arena.battles import Reveal
    from toolkit.arena.store import VoteRow

    AnyVote: TypeAlias = Vote | VoteRow

Array = NDArray[np.float64]

LEVEL = 0.05
"""Share of crowds in which an honest voter may be accused."""
TESTS = 7
FEWEST = 20
"""Votes that a voter needs for the tests."""
SIDE_BIAS = 0.56
"""Share of one side that an honest voter may tend to."""
HURRIED, HURRIED_SHARE = 1.5, 0.1
"""Seconds in which nobody reads two answers, and the share of votes so fast that may happen."""
SAME_OUTCOME = 0.7
"""Share of ties, or of `both_bad`, that an honest voter may tend to."""
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
    found: dict[str, list[Evidence]] = defaultdict(list)
    for test in (_one_side, _one_outcome, _hurried, _one_contestant, _against_the_rest, _copied):
        for voter, evidence in test(crowd):
            if evidence.p_value <= LEVEL:
                found[voter].append(evidence)
    reports = []
    for voter in dict.fromkeys([*crowd.names, *answered]):
        own = crowd.rows.get(voter, [])
        times = [t for row in own if (t := getattr(votes[row], "seconds", None)) is not None]
        inattentive = answered[voter] > 1 and failed[voter] * 2 > answered[voter]
        reports.append(
            VoterReport(
                voter=voter,
                votes=len(own),
                checks=answered[voter],
                failed=failed[voter],
                seconds=float(np.median(times)) if times else None,
                evidence=tuple(sorted(found[voter], key=lambda each: each.p_value)),
                flagged=inattentive or bool(found[voter]),
            )
        )
    return sorted(reports, key=suspicion_key)


def suspicion_key(report: VoterReport) -> tuple[bool, float, int]:
    """Sorts the most suspicious first."""
    return not report.flagged, 1.0 if report.p_value is None else report.p_value, -report.failed


class _Crowd:
    """Votes as arrays, in order, and the voters with enough of them."""

    def __init__(self, votes: Sequence[AnyVote]) -> None:
        self.votes = votes
        self.rows: dict[str, list[int]] = defaultdict(list)
        for row, vote in enumerate(votes):
            self.rows[vote.voter].append(row)
        self.names = list(self.rows)
        self.tested = [name for name in self.names if len(self.rows[name]) >= FEWEST]
        self.codes = np.array([CODES[vote.outcome] for vote in votes], dtype=np.int8)
        self.pairs = [sorted_pair(vote.model_a, vote.model_b) for vote in votes]
        self.points = np.array(
            [POINTS[v.outcome] if v.model_a < v.model_b else 1 - POINTS[v.outcome] for v in votes],
            dtype=float,
        )
        """Of the pair's first contestant."""
        self.expected = self._expected()

    def _expected(self) -> Array:
        """For each vote, the mean points that the other voters gave the pair's first contestant."""
        total: defaultdict[Any, float] = defaultdict(float)
        count: Counter[Any] = Counter()
        for vote, pair, points in zip(self.votes, self.pairs, self.points.tolist(), strict=True):
            for key in (pair, (pair, vote.voter)):
                total[key] += points
                count[key] += 1
        expected = []
        for vote, pair in zip(self.votes, self.pairs, strict=True):
            own = (pair, vote.voter)
            others, times = total[pair] - total[own], count[pair] - count[own]
            expected.append((others + 1) / (times + 2))
        return np.array(expected)

    def evidence(self, kind: str, detail: str, p_value: float, times: int = 1) -> Evidence:
        """Evidence with its p-value corrected for the voters, the tests, and `times` tries at each."""
        corrected = min(1.0, p_value * max(1, len(self.tested)) * TESTS * times)
        return Evidence(kind=kind, detail=detail, p_value=corrected)


Found = Iterable[tuple[str, Evidence]]


def _one_side(crowd: _Crowd) -> Found:
    """Chooses one side: sides are drawn by a fair coin, so that no taste makes one win more often."""
    for voter in crowd.tested:
        rows = [row for row in crowd.rows[voter] if getattr(crowd.votes[row], "kind", "") != "imported"]
        codes = crowd.codes[rows]
        counts = [int((codes == side).sum()) for side in (0, 1)]
        most, decided = max(counts), sum(counts)
        p_value = float(binom.sf(most - 1, decided, SIDE_BIAS)) if decided else 1.0
        side = "AB"[counts.index(most)]
        yield voter, crowd.evidence("one side", f"{most} of {decided} decided votes for {side}", p_value, 2)


def _one_outcome(crowd: _Crowd) -> Found:
    """Always calls it a tie, or both bad."""
    for voter in crowd.tested:
        codes = crowd.codes[crowd.rows[voter]]
        for code, name in ((2, "tie"), (3, "both bad")):
            share = max(SAME_OUTCOME, 1.2 * float((crowd.codes == code).mean()))
            count = int((codes == code).sum())
            p_value = float(binom.sf(count - 1, len(codes), min(share, 0.99)))
            yield voter, crowd.evidence("one outcome", f"{count} of {len(codes)} votes: {name}", p_value, 2)


def _hurried(crowd: _Crowd) -> Found:
    """Votes before the answers can have been read."""
    for voter in crowd.tested:
        times = [getattr(crowd.votes[row], "seconds", None) for row in crowd.rows[voter]]
        known = [seconds for seconds in times if seconds is not None]
        fast = sum(seconds < HURRIED for seconds in known)
        p_value = float(binom.sf(fast - 1, len(known), HURRIED_SHARE)) if fast else 1.0
        detail = f"{fast} of {len(known)} votes within {HURRIED} s of the display"
        yield voter, crowd.evidence("speed", detail, p_value)


def _one_contestant(crowd: _Crowd) -> Found:
    """One contestant wins, or loses, whomever it meets, far beyond the spread of tastes in the crowd."""
    tested = set(crowd.tested)
    tallies: defaultdict[str, defaultdict[str, list[float]]]
    tallies = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0, 0]))
    columns = zip(crowd.votes, crowd.pairs, crowd.points.tolist(), crowd.expected.tolist(), strict=True)
    for vote, (one, other), points, mean in columns:
        if vote.voter in tested:
            for name, own, expected in ((one, points, mean), (other, 1 - points, 1 - mean)):
                sums = tallies[name][vote.voter]
                sums[0] += own
                sums[1] += expected
                sums[2] += 1
    for contestant, by_voter in sorted(tallies.items()):
        spread = _taste_spread(np.array(list(by_voter.values())).reshape(-1, 3))
        for voter, (won, mean_points, count) in by_voter.items():
            times = int(count)
            p_value, more = _betabinomial_tail(won, mean_points / times, times, spread)
            what = f"{won:g} points for {contestant} in {times} battles, {mean_points:.1f} expected"
            yield (
                voter,
                crowd.evidence(
                    "for one contestant" if more else "against one contestant",
                    what,
                    p_value,
                    2 * len(tallies),
                ),
            )


def _taste_spread(tallies: Array) -> float:
    """Variance of voters' own win rates around what the crowd expects, beyond chance; shares of 80% count."""
    if len(tallies) < 5:  # noqa: PLR2004
        return 0.05
    won, mean, times = tallies.T
    deviation = (won - mean) / times
    noise = (mean / times) * (1 - mean / times) / times
    low, high = np.quantile(deviation, [0.2, 0.8])
    wide = max(abs(low), abs(high)) / norm.ppf(0.8)
    return float(np.clip(wide**2 - np.median(noise), 0.01, 0.2))


def _betabinomial_tail(won: float, rate: float, times: int, spread: float) -> tuple[float, bool]:
    """Probability of a win count as extreme, when voters' rates vary by `spread`; and whether it is high."""
    rate = min(max(rate, 0.05), 0.95)
    size = max(rate * (1 - rate) / spread - 1, 0.5)
    alpha, beta = rate * size, (1 - rate) * size
    high = won >= rate * times
    count = int(np.floor(won)) if high else int(np.ceil(won))
    tail = betabinom.sf(count - 1, times, alpha, beta) if high else betabinom.cdf(count, times, alpha, beta)
    return float(tail), high


def _against_the_rest(crowd: _Crowd) -> Found:
    """Agrees less with the other voters than these among themselves: random clicks, or contrary votes."""
    scores = {}
    for voter in crowd.tested:
        rows = crowd.rows[voter]
        odds = np.log(crowd.expected[rows] / (1 - crowd.expected[rows]))
        variance = float((odds**2 * crowd.expected[rows] * (1 - crowd.expected[rows])).sum())
        if variance > 0:
            gap = float((odds * (crowd.points[rows] - crowd.expected[rows])).sum())
            scores[voter] = gap / variance**0.5
    if len(scores) < 5:  # noqa: PLR2004
        return
    values = np.array(list(scores.values()))
    middle, low = float(np.median(values)), float(np.quantile(values, 0.2))
    spread = max(1.0, (middle - low) / norm.ppf(0.8), 1.4826 * float(np.median(np.abs(values - middle))))
    for voter, value in scores.items():
        p_value = float(norm.cdf((value - middle) / spread))
        detail = (
            f"agreement with the others {(value - middle) / spread:.1f} standard deviations from the middle"
        )
        yield voter, crowd.evidence("unlike the rest", detail, p_value)


def _copied(crowd: _Crowd) -> Found:
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
        usual = min(0.95, max(0.5, float(np.quantile(rates, 0.9))))
        p_values = binom.sf(same[one, other] - 1, shared[one, other], usual)
        for index in np.flatnonzero(p_values * len(p_values) * TESTS <= LEVEL):
            pair = names[one[index]], names[other[index]]
            for voter, twin in (pair, pair[::-1]):
                count, of = int(same[one[index], other[index]]), int(shared[one[index], other[index]])
                detail = f"{count} of {of} as {twin[:12]}: {kind}"
                p_value = min(1.0, float(p_values[index]) * len(p_values) * TESTS)
                yield voter, Evidence(kind="copied", detail=detail, p_value=p_value)


def _same_choices(crowd: _Crowd) -> tuple[Array, Array]:
    """For each two voters: battles on which both chose the same contestant, and battles both voted on."""
    battles: dict[Any, int] = {}
    place = {name: index for index, name in enumerate(crowd.tested)}
    entries = [
        (place[vote.voter], battles.setdefault((vote.example_id, pair), len(battles)), round(2 * points))
        for vote, pair, points in zip(crowd.votes, crowd.pairs, crowd.points.tolist(), strict=True)
        if vote.voter in place and vote.example_id
    ]
    shape = len(place), len(battles)

    def matrix(chosen: list[tuple[int, int, int]]) -> Any:
        ones = np.ones(len(chosen), dtype=np.int32)
        rows, columns = [entry[0] for entry in chosen], [entry[1] for entry in chosen]
        met = csr_matrix((ones, (rows, columns)), shape=shape)
        met.data[:] = 1
        return met

    every = matrix(entries)
    same = sum(
        (m @ m.T).toarray() for code in range(3) for m in [matrix([e for e in entries if e[2] == code])]
    )
    return np.asarray(same), np.asarray((every @ every.T).toarray())


def _same_clicks(crowd: _Crowd) -> tuple[Array, Array]:
    """For each two voters: places in their sequences of votes with the same outcome, and places both have."""
    longest = min(500, max(len(crowd.rows[name]) for name in crowd.tested))
    clicks = np.full((len(crowd.tested), longest), -1, dtype=np.int8)
    for index, name in enumerate(crowd.tested):
        own = crowd.codes[crowd.rows[name][:longest]]
        clicks[index, : len(own)] = own
    there = (clicks >= 0).astype(np.float32)
    same = np.zeros((len(clicks), len(clicks)), dtype=np.float32)
    for code in CODES.values():
        chosen = (clicks == code).astype(np.float32)
        same += chosen @ chosen.T
    return np.asarray(same, dtype=float), np.asarray(there @ there.T, dtype=float)


# Answers that identify their author

MODELS = (
    r"smollm\d?|tinyllama|llama|alpaca|vicuna|qwen|gemma|gemini|bard|mistral|mixtral|phi-?[1-9]|falcon|olmo|"
    r"pythia|claude|chatgpt|gpt-?[2-9]|davinci|deepseek|yi-\d+b|grok|command-r|zephyr|dolly|koala|guanaco|"
    r"bloom|copilot|ernie|kimi|glm|nova|granite|stablelm|wizardlm|openassistant|baichuan|internlm"
)
MAKERS = (
    r"openai|anthropic|google(?: ai| deepmind| research)?|deepmind|meta(?: ai)?|facebook(?: ai)?|deepseek|"
    r"xai|mistral(?: ai)?|alibaba(?: cloud| group)?|hugging ?face|microsoft(?: research)?|stability ai|"
    r"lmsys|tsinghua(?: university)?|cohere|nvidia|ibm|apple|amazon|baidu|moonshot ai|eleutherai|ai2"
)

_NAME = rf"(?<![\w-])(?:{MODELS})(?:[ .-]?\d+(?:\.\d+)?[a-z]*)?(?![\w])"
_LITTLE = r"(?:[^\W\d_]+(?:['\u2019-][^\W\d_]+)?,? ){0,6}?"
"""A few words of the same clause."""

_CALLED = (
    r"my (?:model )?name is|(?:you (?:can|may) )?call me|i(?: am|['\u2019]m) called|i go by|me llamo|"
    r"mi nombre es|je m['\u2019]appelle|mon nom est|ich hei(?:\u00df|ss)e|mein name ist|meu nome \u00e9|"
    r"eu me chamo|mi chiamo|il mio nome \u00e8|\u043c\u0435\u043d\u044f \u0437\u043e\u0432\u0443\u0442|"
    r"\u6211\u53eb|\u6211\u7684\u540d\u5b57\u662f|\u79c1\u306e\u540d\u524d\u306f"
)
_SELF = (
    r"(?<![\w'\"\u201c])(?:i am|i['\u2019]m|i,|soy|je suis|ich bin|eu sou|sono|\u044f)(?![\w'])"
    r"|\u6211\u662f|\u79c1\u306f"
)
_ADVERBS = r"(?:(?:just|still|actually|called|named|the|o|a|el|il|le|la|der|die|das) )*"
_AS = r"(?<!\w)(?:as|als|como|en tant que|come) "
_KIND = (
    r"(?:ai|a\.i\.|artificial|language|chat|large|virtual|digital|assistant|asistente|model|modelo|modello|"
    r"bot|chatbot|llm|ki|ia|idioma|langue|sprach\w*)"
)
_MADE = (
    r"(?:created|made|built|developed|trained|designed|released|fine-tuned|provided|entrenad[oa]|cread[oa]|"
    r"desarrollad[oa]|entra\u00een\u00e9e?|cr\u00e9\u00e9e?|d\u00e9velopp\u00e9e?|trainiert|entwickelt|"
    r"erstellt|treinad[oa]|criad[oa])"
)
_WAS = rf"{_SELF}|i was|i have been|i['\u2019]ve been|fui|j['\u2019]ai \u00e9t\u00e9"
_BY = r"(?:by|at|from|of|von|por|par|da|di)"
_MY = r"my (?:creators?|developers?|makers?)|the (?:team|company) (?:that|who|which) \w+ me"
_NOT = r"(?! ?(?:not|no|talking|asking|looking|reading|using|writing|comparing|happy|sure|going)\b)"

_CLAIMS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:{_CALLED}):? {_LITTLE}{_NAME}",
        rf"(?<![\w'\"\u201c])this is {_NAME}",
        rf"(?:{_SELF}){_NOT},? ?(?:{_LITTLE}{_KIND},? {_LITTLE})?{_ADVERBS}{_NAME}",
        rf"{_AS}{_NAME}(?=,|, an? )",
        rf"{_AS}(?:an? |the )?(?:\w+ ){{0,3}}{_KIND} {_LITTLE}{_MADE} {_BY} (?:the )?(?:{MAKERS})\b",
        rf"(?:{_WAS}) ?{_LITTLE}{_MADE} {_LITTLE}{_BY} {_LITTLE}(?:{MAKERS})\b",
        rf"(?:{_SELF}) (?:an? |the |ein )?(?:\w+ ){{0,3}}{_KIND},? (?:\w+ )?{_BY} (?:{MAKERS})\b",
        rf"ich wurde von (?:{MAKERS})\b",
        rf"(?:{_MY})\b {_LITTLE}(?:is|are|at|was|by|,) {_LITTLE}(?:{MAKERS})\b",
        rf"(?:{MAKERS})(?: has)? {_MADE} me\b",
        rf"\u6211\u662f.{{0,20}}\u7531(?:{MAKERS}|\u963f\u91cc\u5df4\u5df4|\u6df1\u5ea6\u6c42\u7d22)",
    )
]


_ANY_NAME = re.compile(rf"{MODELS}|{MAKERS}|\u963f\u91cc|\u6df1\u5ea6", re.IGNORECASE)
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
    patterns = _CLAIMS if _ANY_NAME.search(answer) else []
    lowered = answer.lower()
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
