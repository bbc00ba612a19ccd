"""The arena service used by the pages: issue a blind ballot, record the vote, reveal the names.

Pages use this class only. Before a vote it returns a `BlindBallot`, which contains no contestant names, so a
page cannot leak one.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from toolkit.arena.battles import (
    Action,
    Ballot,
    BattlePool,
    BlindBallot,
    Cast,
    Reveal,
    new_id,
    side_fields,
)
from toolkit.arena.pairing import (
    DrawnBattle,
    Matrix,
    attention_check_due,
    build_attention_check,
    draw_battle,
    draw_pair,
    residual_deviations,
)
from toolkit.arena.self_revealing import reveals_identity
from toolkit.arena.settings import ArenaSettings, EffectiveSettings, SettingsStore, apply_settings
from toolkit.arena.store import OWN_QUESTIONS, Store
from toolkit.arena.tally import CountedVotes, Tally, VoteLog
from toolkit.errors import ToolkitError
from toolkit.types import POINTS, Message, Outcome, sorted_pair

ATTEMPTS = 20
"""Maximum draws for one ballot: another tab may store the same battle between draw and store."""

SESSION_HOURS = 12
"""After these a vote's names are open where they were to stay hidden until the voter finishes."""

RETRY_SECONDS = 30.0
"""Seconds between attempts to load an additional run that was missing."""

MAX_COMMENT_CHARS = 1000
MAX_TAGS, MAX_TAG_CHARS = 20, 60
"""Reasons of one vote, and the characters of each."""

MAX_REVISIONS = 100
"""Lines of the log about one ballot: each change of its reasons adds one."""


class NotAllowed(ToolkitError):
    """The request is refused: rate limit, grace time over, blocked voter, or another voter's ballot."""


@dataclass(frozen=True)
class Rules:
    """How voters are treated."""

    seed: int = 0
    """Of the draws, beside the arena's secret."""
    grace: float = 60.0
    """Seconds in which a vote may be taken back."""
    per_minute: int = 60
    """Votes an account, or all voters without one at a network address, may cast in a minute."""
    questions_per_minute: int = 10
    """Questions of their own that these may put in a minute: each takes two models' time."""
    check_every: int = 0
    """One battle in so many is an attention check; 0: none."""
    reveal: Literal["after-vote", "after-session"] = "after-vote"
    """When names are revealed: `after-session`, when a voter finishes or `SESSION_HOURS` after a vote."""


class ArenaService:
    """One contest, one store, and the rules."""

    def __init__(
        self,
        pool: BattlePool,
        store: Store,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.rules = rules or Rules()
        self.settings_store = SettingsStore(store, pool.run, clock)
        self._clock = clock
        self._started_with = pool
        self._arrangement = apply_settings(pool, ArenaSettings())
        self._arranged_at = clock()
        texts = {
            example: {name: answer.completion for name, answer in answers.items()}
            for example, answers in pool.answers.items()
        }
        self._votes = VoteLog(store, pool.run, texts)
        self._deviations: tuple[int, Matrix | None] = (-1, None)
        self._addresses: dict[str, str] = {}
        self._question_lock = threading.Lock()
        self._questions: list[tuple[float, set[str]]] = []

    @property
    def effective_settings(self) -> EffectiveSettings:
        """The settings in force; missing additional runs are retried every `RETRY_SECONDS`."""
        control, known = self.settings_store.control, self._arrangement
        waited = not 0 <= self._clock() - self._arranged_at < RETRY_SECONDS
        if control != known.control or (known.problems and waited):
            self._arranged_at = self._clock()
            self._arrangement = apply_settings(self._started_with, control)
        return self._arrangement

    @property
    def pool(self) -> BattlePool:
        """Contestants and battles in use now."""
        return self.effective_settings.pool

    def warm_up(self) -> None:
        """Compute what the first draw needs: of many contestants' answers it takes seconds."""
        self.votes()
        assert self.pool.battles is not None
        assert self.pool.places is not None

    def register_voter(self, voter: str, kind: str = "cookie", address: str | None = None) -> None:
        """Register a voter, once per visit; `kind` is `signed-in` for an account, `cookie` for others.

        The network `address` of a voter without an account is stored as a keyed hash.
        """
        if address is not None and kind != "signed-in":
            self._addresses[voter] = self.store.keyed_hash("address", address)
        self.store.add_voter(voter, kind, self._clock(), self._addresses.get(voter))

    def ballot(self, voter: str) -> BlindBallot | None:
        """The voter's open ballot, or a new one; `None` when the voter has seen every battle.

        A ballot stays open until it is voted on or skipped: reloading the page shows the same one. Raises
        `NotAllowed` where the arena is closed, or the voter blocked.
        """
        self._require_admission(voter)
        for _ in range(ATTEMPTS):
            newest, cast, number = self.store.newest_ballot(voter, self.pool.run)
            if newest and cast is None:
                if not self._is_void(newest):
                    return newest.blind
                self.store.add_cast(self._new_cast(newest, None, "skip"))
            ballot = self._draw(voter, number)
            if ballot is None:
                return None
            shown = self.store.add_ballot(ballot)
            if shown and shown.kind != "live":
                return shown.blind
        return None

    def count_question(self, voter: str) -> None:
        """Count a question against the limit (`NotAllowed` beyond it); called before models answer."""
        self._require_admission(voter)
        who, now = {voter, self._addresses.get(voter, voter)}, self._clock()
        with self._question_lock:
            self._questions = [each for each in self._questions if each[0] > now - 60]
            if sum(bool(who & names) for _, names in self._questions) >= self.rules.questions_per_minute:
                most = self.rules.questions_per_minute
                raise NotAllowed(f"more than {most} questions in a minute; take a breath")
            self._questions.append((now, who))

    def draw_pair(self, names: Sequence[str]) -> tuple[str, str, float]:
        """Draw two of these contestants to answer a question: left, right, and the pair's probability."""
        pairs = [pair for pair in self.pool.pairs if set(pair) <= set(names)]
        if not pairs:
            raise NotAllowed("fewer than two contestants can answer here")
        return draw_pair(self.pool, self.tally(), pairs, np.random.default_rng())

    def add_live_ballot(
        self,
        voter: str,
        sides: tuple[str, str],
        questions: Sequence[str],
        answers: tuple[str, str],
        *,
        cut: str = "",
        pair_probability: float | None = None,
    ) -> str:
        """Store a ballot of two live answers to a voter's own questions; returns its id.

        Raises `NotAllowed` where the arena is closed, the voter blocked, or an answer names its author.
        """
        self._require_admission(voter)
        if any(reveals_identity(answer, self.pool.contestants) for answer in answers):
            raise NotAllowed(
                "an answer says who wrote it, so this battle would not be blind; ask something else"
            )
        fields = {
            "kind": "live",
            "example_id": f"live-{new_id()}",
            "category": OWN_QUESTIONS,
            "cut": cut,
            "messages": tuple(Message(role="user", content=question) for question in questions),
            "pair_probability": pair_probability,
            "probability": None if pair_probability is None else pair_probability / 2,
        }
        fields |= side_fields(*zip(sides, answers, strict=True))
        for _ in range(ATTEMPTS):
            *_, number = self.store.newest_ballot(voter, self.pool.run)
            ballot = self._new_ballot(voter, number, fields)
            if self.store.add_ballot(ballot) is ballot:
                return ballot.id
        raise NotAllowed("your other tabs were quicker; ask again")

    def vote(self, voter: str, ballot_id: str, outcome: Outcome, seconds: float | None = None) -> Reveal:
        """Commit a vote and reveal the names. A repeated request returns the stored vote.

        `outcome` is by the sides shown; `seconds` from the first display of the ballot, where measured.

        Raises:
            NotAllowed: not this voter's ballot, skipped or taken back before, or too many votes in a minute.
            StoreError: the vote could not be committed; nothing is opened.
        """
        ballot = self._own_ballot(voter, ballot_id)
        cast = self.store.cast(ballot_id)
        if cast is None:
            self._require_admission(voter)
            self._limit_rate(voter)
            if self._is_void(ballot):
                raise NotAllowed("the names may have been shown since this battle was, so it is void")
            cast = self.store.add_cast(self._new_cast(ballot, None, "vote", outcome, seconds))
        if cast.action != "vote":
            raise NotAllowed("this battle is closed: it was skipped, or its vote taken back")
        return self._reveal(ballot, cast)

    def skip(self, voter: str, ballot_id: str) -> None:
        """Close a ballot without a vote; the names stay hidden and the battle is not shown again."""
        ballot = self._own_ballot(voter, ballot_id)
        if self.store.cast(ballot_id) is None:
            self._limit_rate(voter)
            self.store.add_cast(self._new_cast(ballot, None, "skip"))

    def undo(self, voter: str, ballot_id: str) -> None:
        """Take a vote back within the grace time (else `NotAllowed`), as a correction in the log.

        The battle stays closed: its names are known by now, so another vote on it would not be blind.
        """
        ballot, before = self._own_vote(voter, ballot_id, "to take back")
        if self._clock() > before.cast_at + self.rules.grace:
            raise NotAllowed(f"a vote can be taken back for {self.rules.grace:.0f} seconds")
        self.store.add_cast(self._new_cast(ballot, before, "undo"))

    def annotate(self, voter: str, ballot_id: str, tags: tuple[str, ...], comment: str) -> Reveal:
        """Add reasons to a vote, as a further line of the log; `NotAllowed` beyond the limits above."""
        ballot, before = self._own_vote(voter, ballot_id, "to add to")
        comment = comment.strip()
        if (tags, comment) == (before.tags, before.comment):
            return self._reveal(ballot, before)
        if len(comment) > MAX_COMMENT_CHARS:
            raise NotAllowed(
                f"a comment may have {MAX_COMMENT_CHARS:,} characters, and this has {len(comment):,}"
            )
        if len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG_CHARS for tag in tags):
            raise NotAllowed(f"a vote may have {MAX_TAGS} reasons of {MAX_TAG_CHARS} characters")
        if before.revision + 1 >= MAX_REVISIONS:
            raise NotAllowed("the reasons of this vote were changed too often")
        noted = {"revision": before.revision + 1, "tags": tags, "comment": comment}
        return self._reveal(ballot, self.store.add_cast(before.model_copy(update=noted)))

    def history(self, voter: str) -> list[Reveal]:
        """A voter's last votes, newest first; without names where these are still to be opened."""
        return [self._reveal(reveal.ballot, reveal.cast) for reveal in self.store.history(voter)]

    def finish(self, voter: str) -> None:
        """Open the names of all votes of this voter; those answers are not shown to them again."""
        self.store.set_voter(voter, finished_at=self._clock())

    def open_example(self, voter: str) -> str | None:
        """The example of the battle that a voter has before them."""
        ballot, cast, _ = self.store.newest_ballot(voter, self.pool.run)
        return ballot.example_id if ballot is not None and cast is None else None

    def votes(self) -> CountedVotes:
        """The votes now, and those kept apart; read-only."""
        return self._votes.read(self.settings_store.control.voters_per_address)

    def tally(self) -> Tally:
        """Counts of the votes that count; read-only."""
        return self.votes().tally

    def progress(self, tally: Tally) -> tuple[int, int]:
        """Votes so far (at most the goal of each pair) and the total goal; (0, 0) without pairs."""
        goal = self.pool.options.goal
        pairs = self.pool.pairs
        return sum(min(tally.votes[pair], goal) for pair in pairs), goal * len(pairs)

    def _draw(self, voter: str, number: int) -> Ballot | None:
        key = self.store.keyed_hash("draw", str(self.rules.seed), voter, str(number))
        rng = np.random.default_rng(int(key, 16))
        met, fields = self.store.seen_battles(voter), None
        if attention_check_due(number, self.rules.check_every, rng):
            fields = build_attention_check(self.pool, met, rng)
        if fields is None:
            deviations = self._residual_deviations()
            drawn = draw_battle(self.pool, self.tally(), met, rng, self._revealed(voter), deviations)
            repeat = drawn is None and self.settings_store.control.repeats
            if repeat:
                drawn = draw_battle(self.pool, self.tally(), met, rng)
            if drawn is None:
                return None
            fields = self._ballot_fields(drawn) | {"repeat": repeat}
        return self._new_ballot(voter, number, fields)

    def _new_ballot(self, voter: str, number: int, fields: Mapping[str, Any]) -> Ballot:
        who = {"id": new_id(), "voter": voter, "number": number, "run": self.pool.run}
        return Ballot.model_validate({"shown_at": self._clock(), **who, **fields})

    def _residual_deviations(self) -> Matrix | None:
        """How far votes are from the judge's, refreshed with each tenth more of them; `None`: no judge."""
        judged, rows = self.pool.judged, self.votes().rows
        if judged and not 0 <= 10 * (len(rows) - self._deviations[0]) <= self._deviations[0]:
            pairs = [sorted_pair(row.model_a, row.model_b) for row in rows]
            seen = [judged.get((row.example_id, pair), np.nan) for row, pair in zip(rows, pairs, strict=True)]
            won = [(POINTS[row.outcome], row.model_a < row.model_b) for row in rows]
            points = [each if in_order else 1 - each for each, in_order in won]
            found = residual_deviations(np.array(list(judged.values())), np.array(points), np.array(seen))
            self._deviations = len(rows), found
        return self._deviations[1]

    def _revealed_before(self, voter: str) -> float:
        """Votes cast until then have had their names opened to this voter."""
        now = self._clock()
        if self.rules.reveal == "after-vote":
            return now
        return max(self.store.finished_at(voter), now - SESSION_HOURS * 3600)

    def _revealed(self, voter: str) -> set[tuple[str, str]]:
        """(example, contestant) of the answers whose author this voter knows."""
        answers, viewed = self.store.revealed_answers(voter, self._revealed_before(voter))
        revealed = {place for keys in answers for place in self.pool.places.get(keys, ())}
        return revealed | {(example, name) for example in viewed for name in self.pool.contestants}

    def _reveal(self, ballot: Ballot, cast: Cast) -> Reveal:
        if self.rules.reveal == "after-session" and cast.cast_at > self._revealed_before(ballot.voter):
            ballot = ballot.model_copy(update={"contestant_a": "", "contestant_b": ""})
        return Reveal(ballot=ballot, cast=cast)

    def _is_void(self, ballot: Ballot) -> bool:
        if ballot.kind == "live":
            return False
        finished = 0.0 if self.rules.reveal == "after-vote" else self._revealed_before(ballot.voter)
        return ballot.shown_at <= max(finished, self.settings_store.control.closed_at)

    def _ballot_fields(self, drawn: DrawnBattle) -> dict[str, Any]:
        a, b = (self.pool.answers[drawn.example_id][name] for name in (drawn.a, drawn.b))
        return {
            "example_id": drawn.example_id,
            **{name: getattr(a, name) for name in ("category", "messages", "reference")},
            **side_fields((drawn.a, a.completion), (drawn.b, b.completion)),
            "cut": "".join(side for side, answer in (("a", a), ("b", b)) if answer.finish == "length"),
            **{name: getattr(drawn, name) for name in ("pair_probability", "probability", "weight")},
        }

    def _require_admission(self, voter: str) -> None:
        if not self.settings_store.control.open:
            raise NotAllowed("the arena is closed")
        if voter in self.settings_store.blocked:
            raise NotAllowed("you may not vote here")

    def _own_ballot(self, voter: str, ballot_id: str) -> Ballot:
        ballot = self.store.ballot(ballot_id)
        if ballot is None or ballot.voter != voter:
            raise NotAllowed("this battle is not yours to vote on")
        return ballot

    def _own_vote(self, voter: str, ballot_id: str, purpose: str) -> tuple[Ballot, Cast]:
        ballot, cast = self._own_ballot(voter, ballot_id), self.store.cast(ballot_id)
        if cast is None or cast.action != "vote":
            raise NotAllowed(f"there is no vote {purpose}")
        return ballot, cast

    def _limit_rate(self, voter: str) -> None:
        since, address = self._clock() - 60, self._addresses.get(voter)
        if self.store.votes_since(voter, since, address) >= self.rules.per_minute:
            raise NotAllowed(f"more than {self.rules.per_minute} votes in a minute; take a breath")

    def _new_cast(
        self,
        ballot: Ballot,
        before: Cast | None,
        action: Action,
        outcome: Outcome | None = None,
        seconds: float | None = None,
    ) -> Cast:
        revision, now = before.revision + 1 if before else 0, self._clock()
        what = {"action": action, "outcome": outcome, "cast_at": now, "seconds": seconds}
        return Cast(ballot=ballot.id, revision=revision, **what)
