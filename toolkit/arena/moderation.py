"""Detect suspicious voters, and report the evidence for each.

Each test gives a p-value under honest voting, corrected for all voters and tests (Bonferroni): at most 5% of
crowds should flag any honest voter. Honest voters differ in taste: what a test expects of them, and
how far they spread, is taken from the crowd itself, so that a taste which a fifth of the voters share accuses
nobody. How many riggers are found in simulated crowds: `perf/riggers.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import bdtr, bdtrc, gammaln, ndtr, ndtri

from toolkit.types import POINTS, Outcome, Record, Vote, sorted_pair

if TYPE_CHECKING:
    from toolkit.arena.battles import Reveal
    from toolkit.arena.store import VoteRow

    AnyVote: TypeAlias = Vote | VoteRow

Array = NDArray[np.float64]
Places = NDArray[np.intp]

LEVEL = 0.05
"""Share of crowds in which an honest voter may be accused."""
SHARES = {"one side": 0.17, "one outcome": 0.02, "speed": 0.02, "copied": 0.1, "unlike the rest": 0.27}
SHARES |= {"for one contestant": 0.2, "against one contestant": 0.2, "ring": 0.02}
"""Of that level, what is spent on each test."""
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
RIGGED, TIGHTNESS, OF_RINGS = 0.95, 0.08, 0.3
"""Share that a rigger's contestant wins; and k times the probability that honest votes are k times likelier a
rigger's: under the density of a rigger's log likelihood ratio, which is 0.12 at 20 battles, and under 1 for
the small k of a ring's members; both measured in simulated crowds."""
LEAST_SPREAD, PRIOR_VOTERS, TASTES = 0.7, 4, np.linspace(-3.5, 3.5, 29)
"""Standard deviation of tastes at the least, the voters that it stands for beside the crowd, and the grid."""
SLIPS, LEAST_GAIN = 0.08, 2.0
"""Share of copied votes that differ, and the log evidence that a member of a group needs."""
MOST_GROUPS, MOST_CLICKS = 30, 500
"""Pairs of accounts from which groups grow, and each voter's votes whose order is looked at."""
SHARPEST, MOST_RANDOM = 1.5, 100.0
"""Factor on the others' log odds of the most skilled voter, and the odds of random clicking at the most."""
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
    return sorted(reports, key=_suspicion)


def _suspicion(report: VoterReport) -> tuple[bool, float, int]:
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
        self.random: Array = np.zeros(len(names))
        """Of each voter, the log odds for random clicking that agreement with the others gives."""
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

    def add(self, voter: str, kind: str, detail: str, p_value: float, tries: int) -> None:
        """Keep evidence whose p-value, corrected for this many tries and for the other tests, is low."""
        corrected = min(1.0, p_value * tries / SHARES[kind])
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
    tries = len(crowd.tested)
    usual = [max(SAME_OUTCOME, 1.2 * float(np.mean(crowd.outcomes == code))) for code in (2, 3)]
    for voter in crowd.tested:
        rows = crowd.rows[voter]
        outcomes = crowd.outcomes[rows[drawn[rows]]]
        counts = [int((outcomes == side).sum()) for side in (0, 1)]
        most, decided = max(counts), sum(counts)
        p_value = float(bdtrc(most - 1, decided, SIDE_BIAS)) if decided else 1.0
        side = "AB"[counts.index(most)]
        crowd.add(voter, "one side", f"{most} of {decided} decided votes for {side}", p_value, 2 * tries)
        for code, name, share in zip((2, 3), ("tie", "both bad"), usual, strict=True):
            count = int((crowd.outcomes[rows] == code).sum())
            p_value = float(bdtrc(count - 1, len(rows), min(share, 0.99)))
            crowd.add(voter, "one outcome", f"{count} of {len(rows)} votes: {name}", p_value, 2 * tries)
        times = crowd.seconds[rows]
        known, fast = int((~np.isnan(times)).sum()), int((times < HURRIED).sum())
        p_value = float(bdtrc(fast - 1, known, HURRIED_SHARE)) if fast else 1.0
        detail = f"{fast} of {known} votes within {HURRIED} s of the display"
        crowd.add(voter, "speed", detail, p_value, tries)


def _one_contestant(crowd: _Crowd) -> None:
    """One contestant wins, or loses, whomever it meets, beyond what a taste for it would do.

    A voter's taste shifts the log odds of each battle; how far tastes spread is taken from the crowd.
    """
    sides = crowd.sides.reshape(-1, 2)[crowd.pairs] if len(crowd.pairs) else np.zeros((0, 2))
    on_tested = crowd.is_tested[crowd.voters]
    names, tries = list(crowd.rows), len(crowd.tested) * len(crowd.contestants)
    for number, contestant in enumerate(crowd.contestants):
        on = np.flatnonzero((sides == number).any(axis=1) & on_tested)
        flip = sides[on, 1] == number
        points = np.where(flip, 1 - crowd.points[on], crowd.points[on])
        expected = np.where(flip, 1 - crowd.expected[on], crowd.expected[on])
        who, voter = np.unique(crowd.voters[on], return_inverse=True)
        if len(who) == 0:
            continue
        parts = points, expected, expected * (1 - expected)
        won, mean, information = (np.bincount(voter, part).astype(float) for part in parts)
        spread = _taste_spread(won - mean, information)
        for p_values, without, kind in (
            (*_honest_p_values(points, expected, voter, spread), "for one contestant"),
            (*_honest_p_values(1 - points, 1 - expected, voter, spread), "against one contestant"),
        ):
            ring, together = _ring(without)
            for place, p_value in enumerate(p_values.tolist()):
                detail = f"{won[place]:g} points for {contestant} in {(voter == place).sum()} battles"
                detail += f", {mean[place]:.1f} expected"
                crowd.add(names[who[place]], kind, detail, p_value, tries)
                if place in ring:
                    detail = f"one of {len(ring)} {kind}: {detail}"
                    crowd.add(names[who[place]], "ring", detail, together, 2 * len(crowd.contestants))


def _ring(p_values: Array) -> tuple[set[int], float]:
    """The voters with the lowest p-values, as many as are least likely together, and that p-value."""
    order = np.argsort(p_values)
    sizes = np.arange(2, max(3, len(order) // 3))
    sizes = sizes[p_values[order[sizes - 1]] <= LEVEL] if len(order) > 2 else sizes[:0]  # noqa: PLR2004
    if not len(sizes):
        return set(), 1.0
    tails = bdtrc(sizes - 1, len(order), p_values[order[sizes - 1]])
    return set(order[: sizes[tails.argmin()]].tolist()), float(tails.min()) * len(sizes)


def _taste_spread(gaps: Array, information: Array) -> float:
    """Standard deviation of voters' tastes for a contestant, in log odds; what 80% of them have."""
    if len(gaps) < 5:  # noqa: PLR2004
        return LEAST_SPREAD
    tastes = gaps / information
    low, high = np.quantile(tastes, [0.2, 0.8])
    wide = max(abs(low), abs(high)) / ndtri(0.8)
    return float(np.sqrt(np.clip(wide**2 - np.median(1 / information), LEAST_SPREAD**2, 2)))


def _honest_p_values(points: Array, expected: Array, voter: Places, spread: float) -> tuple[Array, Array]:
    """P-values under honest voting, each (voters,): of one voter alone, and of a member of a ring.

    From the likelihood ratio of an honest voter, whose taste is unknown, to a rigger. The first takes the
    tastes that the other voters have, so that a shared one is no evidence; the second a normal prior of this
    spread, and what is expected by the votes of those who are not conspicuous: a ring moves it.
    """
    odds = np.log(expected / (1 - expected))
    prior = np.exp(-(TASTES**2) / 2 / spread**2)
    prior /= prior.sum()

    def ratios(odds: Array) -> Array:
        """Of each voter by taste, (voters, tastes)."""
        chance = 1 / (1 + np.exp(-odds[:, None] - TASTES))
        wins, losses = np.log(chance / RIGGED), np.log((1 - chance) / (1 - RIGGED))
        logs = losses + points[:, None] * (wins - losses)
        member = csr_matrix((np.ones(len(voter)), (voter, np.arange(len(voter)))))
        return np.asarray(np.exp(np.clip(member @ logs, -300, 300)))

    by_taste = ratios(odds)
    alone = OF_RINGS * by_taste @ prior
    likely = by_taste * prior
    likely /= likely.sum(axis=1, keepdims=True)
    others = PRIOR_VOTERS * prior + likely.sum(axis=0) - likely
    shared = TIGHTNESS * (by_taste * others).sum(axis=1) / (PRIOR_VOTERS + len(likely) - 1)
    usual = points[(alone > LEVEL)[voter]]
    if len(usual) not in (0, len(points)):
        with_all, without = (float(np.clip(part.mean(), 0.01, 0.99)) for part in (points, usual))
        shift = np.log(without / (1 - without)) - np.log(with_all / (1 - with_all))
        alone = OF_RINGS * ratios(odds + min(shift, 0.0)) @ prior
    return shared, alone


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
    spread = max(SKILL_SPREAD**2, ((middle - low) / ndtri(0.8)) ** 2 - float(np.median(chance)) ** 2)
    total = np.sqrt(spread + chance**2)
    deviations = (slopes - middle) / total
    log_ratios = np.log(total / chance) + (deviations**2 - (slopes / chance) ** 2) / 2
    ratios = np.exp(np.minimum(log_ratios, 50))
    crowd.random[scored] = np.log((1 + np.minimum(ratios, MOST_RANDOM)) / 2)
    for place, deviation, slope in zip(scored.tolist(), deviations.tolist(), slopes.tolist(), strict=True):
        detail = f"agreement with the others {slope:.2f}, of the middle voter {middle:.2f}"
        crowd.add(names[place], "unlike the rest", detail, float(ndtr(deviation)), len(crowd.tested))


def _copied(crowd: _Crowd) -> None:
    """Groups of accounts that vote alike where they meet, or click alike, beyond what others' votes predict.

    On each battle, or click, that an account shares with the group the evidence grows by the probability of
    its outcome if that is the group's but for slips, over its probability otherwise: by the others' votes and
    its own share of ties, or by its own share of that outcome. For honest voters the product is at most 1 on
    average, so that its inverse, times the number of groups of this size, bounds the p-value.
    """
    if not crowd.tested:
        return
    mine, where = crowd.is_tested[crowd.voters], np.cumsum(crowd.is_tested) - 1
    clicks = np.concatenate([rows[:MOST_CLICKS] for rows in crowd.rows.values() if len(rows) >= FEWEST])
    who, outcomes = where[crowd.voters[clicks]], crowd.outcomes[clicks]
    places = np.concatenate([np.arange(count) for count in np.bincount(who)])
    usual = np.array([np.bincount(who, outcomes == code) + 1 for code in CODES.values()])
    chances = (usual / usual.sum(axis=0))[:, who]
    votes = who, places, outcomes, chances
    _find_groups(crowd, "clicks one after the other", votes, np.zeros(len(crowd.tested)))
    examples, names = _codes([vote.example_id for vote in crowd.votes])
    on = np.flatnonzero(mine & np.array([bool(name) for name in names])[examples])
    who, battle = where[crowd.voters[on]], examples[on] * (crowd.pairs.max() + 1) + crowd.pairs[on]
    first = np.unique(np.stack([who, battle]), axis=1, return_index=True)[1]
    on, who, battle = on[first], who[first], np.unique(battle[first], return_inverse=True)[1]
    outcomes, expected = np.rint(2 * crowd.points[on]), crowd.expected[on]
    ties = ((np.bincount(who, outcomes == 1) + 1) / (np.bincount(who) + 2))[who]
    sharp = 1 / (1 + (1 / expected - 1) ** SHARPEST)
    lost, won = 1 - np.minimum(expected, sharp), np.maximum(expected, sharp)
    chances = np.array([(1 - ties) * lost, SHARPEST * ties, (1 - ties) * won])
    votes = who, battle, outcomes, chances
    _find_groups(crowd, "choices on the same battles", votes, crowd.random[crowd.is_tested])


def _find_groups(crowd: _Crowd, what: str, votes: tuple[Any, ...], random: Array) -> None:
    """Add evidence of groups that copy; `votes`: accounts, places, outcomes, each outcome's chances."""
    who, place, outcomes, chances = votes
    copies, chosen = [], []
    for code, chance in enumerate(np.clip(chances, 0.03, 0.97)):
        is_it = outcomes == code
        gain = np.where(is_it, np.log((1 - SLIPS) / chance), np.log(SLIPS / (1 - chance)))
        copies.append(csr_matrix((gain, (who, place))))
        chosen.append(csr_matrix((is_it.astype(float), (who, place))))
    count = len(random)
    pairs = _sum_products(copies, chosen)
    pairs = np.triu((pairs + pairs.T) / 2 + random[:, None] + random, 1).ravel()
    every, same, found = sum(chosen), _sum_products(chosen, chosen), dict[int, tuple[float, str]]()
    shared = (every @ every.T).toarray()
    starts = np.argsort(pairs)[: -MOST_GROUPS - 1 : -1]
    for start in starts[pairs[starts] > np.log(count)].tolist():
        for group, gain in _grow(divmod(start, count), copies, chosen, random):
            size = len(group)
            groups = gammaln(count + 1) - gammaln(size + 1) - gammaln(count - size + 1)
            p_value = float(np.exp(min(0.0, groups + np.log(size * (size - 1)) - gain)))
            for member in group:
                others = [other for other in group if other != member]
                of, alike = int(shared[member, others].sum()), int(same[member, others].sum())
                names = ", ".join(crowd.tested[other][:12] for other in others)
                if bdtr(alike, of, 1 - 2 * SLIPS) > LEVEL:
                    evidence = p_value, f"{alike} of {of} {what} as {names}"
                    found[member] = min(found.get(member, evidence), evidence)
    for member, (p_value, detail) in found.items():
        crowd.add(crowd.tested[member], "copied", detail, p_value, 2)


def _grow(
    start: tuple[int, int], copies: list[Any], chosen: list[Any], random: Array
) -> Iterator[tuple[list[int], float]]:
    """Groups from a pair on, each with the next account that votes most like it, and their log evidence."""
    group, more = [start[0]], start[1]
    total, votes = float(random[start[0]]), [own[group] for own in chosen]
    while True:
        gains = _sum_products(copies, votes)[:, 0]
        gains[group] = 0
        gains = np.where(gains >= LEAST_GAIN, gains + random, 0)
        more = int(gains.argmax()) if len(group) > 1 else more
        if gains[more] < np.log(len(random)) + 1:
            return
        group, total = [*group, more], total + float(gains[more])
        alone = 1 - sum(votes).toarray()
        votes = [old + own[[more]].multiply(alone).tocsr() for old, own in zip(votes, chosen, strict=True)]
        yield group, total


def _sum_products(one: list[Any], other: list[Any]) -> Array:
    return np.asarray(sum((a @ b.T).toarray() for a, b in zip(one, other, strict=True)))
