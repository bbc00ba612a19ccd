"""The arena as its pages see it: hand out a blind ballot, take the vote, open it.

The pages know nothing but this class. What it returns before a vote is a `BlindBallot`, which has no names in
it, so no page can leak one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.arena.ballot import Action, Ballot, BlindBallot, Cast, Reveal, new_id
from toolkit.arena.checks import is_due, plant
from toolkit.arena.contest import Contest
from toolkit.arena.control import Arrangement, Control, Office, arranged
from toolkit.arena.live import LiveTally
from toolkit.arena.pairing import Pairing, Tally, draw, meet
from toolkit.arena.selfreveal import gives_itself_away
from toolkit.arena.store import Store
from toolkit.errors import ToolkitError
from toolkit.types import Message, Outcome, digest

ATTEMPTS = 20
"""Draws before a voter is told that nothing is left: other tabs may take a battle between draw and store."""


LOOK_AGAIN = 30.0
"""Seconds after which a further run that was not there is looked for again."""

LONGEST_COMMENT = 1000
"""Characters."""

MOST_TAGS, LONGEST_TAG = 20, 60
"""Reasons of one vote, and the characters of each."""

MOST_CHANGES = 100
"""Lines of the log about one ballot: each change of its reasons adds one."""


class NotAllowed(ToolkitError):
    """The arena will not take this: too fast, too late, blocked, or somebody else's ballot."""


@dataclass(frozen=True)
class Rules:
    """How voters are treated."""

    seed: int = 0
    """Of the pairing."""
    grace: float = 60.0
    """Seconds in which a vote may be taken back."""
    per_minute: int = 60
    """Votes a voter may cast in a minute."""
    questions_per_minute: int = 10
    """Questions of their own that a voter may put in a minute: each takes two models' time."""
    check_every: int = 0
    """One battle in so many is an attention check; 0: none."""


class Desk:
    """One contest, one store, and the rules."""

    def __init__(
        self,
        contest: Contest,
        store: Store,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.rules = rules or Rules()
        self.office = Office(store, contest.run, clock)
        self._clock = clock
        self._started_with = contest
        self._arrangement = arranged(contest, Control())
        self._arranged_at = clock()
        self._tally = LiveTally(store, contest.run, clock)

    @property
    def arrangement(self) -> Arrangement:
        """The contest as the administrator has it; what could not be had is looked for again now and then."""
        control, known = self.office.control, self._arrangement
        waited = not 0 <= self._clock() - self._arranged_at < LOOK_AGAIN
        if control != known.control or (known.problems and waited):
            self._arranged_at = self._clock()
            self._arrangement = arranged(self._started_with, control)
        return self._arrangement

    @property
    def contest(self) -> Contest:
        """Who takes part now."""
        return self.arrangement.contest

    def welcome(self, voter: str, kind: str = "cookie") -> None:
        """Note a voter; to be called once a visit."""
        self.store.add_voter(voter, kind, self._clock())

    def ballot(self, voter: str) -> BlindBallot | None:
        """The voter's open ballot, or a new one; `None` when they have met every battle.

        A ballot stays open until it is voted on or skipped: reloading the page shows the same one.

        Raises:
            NotAllowed: the arena is closed, or the voter blocked.
        """
        self._admit(voter)
        for _ in range(ATTEMPTS):
            newest, cast, number = self.store.newest(voter, self.contest.run)
            if newest and cast is None:
                return newest.blind
            ballot = self._draw(voter, number)
            if ballot is None:
                return None
            shown = self.store.show(ballot)
            if shown is ballot:
                self._tally.shown(ballot)
            if shown and shown.kind != "live":
                return shown.blind
        return None

    def may_ask(self, voter: str) -> None:
        """To be called before anybody answers a voter's own question.

        Raises:
            NotAllowed: the arena is closed, the voter blocked, or they asked too much in this minute.
        """
        self._admit(voter)
        if self.store.asked_since(voter, self._clock() - 60) >= self.rules.questions_per_minute:
            raise NotAllowed(
                f"more than {self.rules.questions_per_minute} questions in a minute; take a breath"
            )

    def meet(self, names: Sequence[str], seed: int) -> tuple[str, str]:
        """Two of these contestants, in order, to answer a voter's own question.

        Raises:
            NotAllowed: fewer than two of them take part.
        """
        pairs = [both for both in self.contest.pairs if set(both) <= set(names)]
        if not pairs:
            raise NotAllowed("fewer than two contestants can answer here")
        return meet(self.contest, self.tally(), pairs, np.random.default_rng(seed))

    def live(
        self, voter: str, sides: tuple[str, str], questions: Sequence[str], answers: tuple[str, str]
    ) -> str:
        """Store what two contestants answered to a voter's own questions; returns the ballot's id.

        Raises:
            NotAllowed: closed, blocked, or an answer says who wrote it.
        """
        self._admit(voter)
        if any(gives_itself_away(answer, self.contest.contestants) for answer in answers):
            raise NotAllowed(
                "an answer says who wrote it, so this battle would not be blind; ask something else"
            )
        key = new_id()
        ballot = Ballot(
            id=key,
            voter=voter,
            number=0,
            kind="live",
            run=self.contest.run,
            example_id=f"live-{key}",
            messages=tuple(Message(role="user", content=question) for question in questions),
            contestant_a=sides[0],
            contestant_b=sides[1],
            answer_a=answers[0],
            answer_b=answers[1],
            shown_at=self._clock(),
        )
        for _ in range(ATTEMPTS):
            _, _, number = self.store.newest(voter, self.contest.run)
            numbered = ballot.model_copy(update={"number": number})
            if self.store.show(numbered) is numbered:
                return key
        raise NotAllowed("your other tabs were quicker; ask again")

    def vote(self, voter: str, ballot_id: str, outcome: Outcome) -> Reveal:
        """Commit a vote, then open it. Sent again, it opens what was stored the first time.

        Raises:
            NotAllowed: not this voter's ballot, skipped or taken back before, or too many votes in a minute.
            StoreError: the vote could not be committed; nothing is opened.
        """
        ballot = self._own(voter, ballot_id)
        cast = self.store.cast(ballot_id)
        if cast is None:
            self._admit(voter)
            self._slow_down(voter)
            line = self._line(ballot, None, "vote", outcome)
            cast = self.store.record(line)
            if cast is line:
                self._tally.voted(ballot, cast)
        if cast.action != "vote":
            raise NotAllowed("this battle is closed: it was skipped, or its vote taken back")
        return Reveal(ballot=ballot, cast=cast)

    def skip(self, voter: str, ballot_id: str) -> None:
        """Close a ballot without a vote; it is not opened, and does not come again."""
        ballot = self._own(voter, ballot_id)
        if self.store.cast(ballot_id) is None:
            self._slow_down(voter)
            self.store.record(self._line(ballot, None, "skip", None))

    def undo(self, voter: str, ballot_id: str) -> None:
        """Take a vote back within the grace time, as a correction in the log.

        The battle stays closed: its names are known by now, so another vote on it would not be blind.

        Raises:
            NotAllowed: there is no vote to take back, or its grace time is over.
        """
        ballot, before = self._own(voter, ballot_id), self.store.cast(ballot_id)
        if before is None or before.action != "vote":
            raise NotAllowed("there is no vote to take back")
        if self._clock() > self.undo_until(before):
            raise NotAllowed(f"a vote can be taken back for {self.rules.grace:.0f} seconds")
        self.store.record(self._line(ballot, before, "undo", None))
        self._tally.forget()

    def undo_until(self, cast: Cast) -> float:
        """The end of a vote's grace time, in seconds since 1970."""
        return cast.cast_at + self.rules.grace

    def annotate(self, voter: str, ballot_id: str, tags: tuple[str, ...], comment: str) -> Reveal:
        """Add reasons to a vote, as a further line of the log with the same outcome.

        Raises:
            NotAllowed: there is no vote to add to; the reasons are too long, too many, or changed too often.
        """
        ballot, before = self._own(voter, ballot_id), self.store.cast(ballot_id)
        if before is None or before.action != "vote":
            raise NotAllowed("there is no vote to add to")
        comment = comment.strip()
        if (tags, comment) == (before.tags, before.comment):
            return Reveal(ballot=ballot, cast=before)
        if len(comment) > LONGEST_COMMENT:
            raise NotAllowed(
                f"a comment may have {LONGEST_COMMENT:,} characters, and this has {len(comment):,}"
            )
        if len(tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in tags):
            raise NotAllowed(f"a vote may have {MOST_TAGS} reasons of {LONGEST_TAG} characters")
        if before.revision + 1 >= MOST_CHANGES:
            raise NotAllowed("the reasons of this vote were changed too often")
        line = self._line(ballot, before, "vote", before.outcome)
        noted = line.model_copy(update={"tags": tags, "comment": comment, "cast_at": before.cast_at})
        return Reveal(ballot=ballot, cast=self.store.record(noted))

    def tally(self) -> Tally:
        """What was shown and voted so far; to be looked at, not changed."""
        return self._tally.read()

    def progress(self, tally: Tally) -> tuple[int, int]:
        """Votes so far, counted up to each pair's goal, and votes wanted in all; 0 and 0 without a pair."""
        goal = self.contest.options.goal
        pairs = self.contest.pairs
        return sum(min(tally.votes[both], goal) for both in pairs), goal * len(pairs)

    def _draw(self, voter: str, number: int) -> Ballot | None:
        rng = np.random.default_rng(int(digest(str(self.rules.seed), voter, str(number)), 16))
        met = self.store.met(voter)
        fields = plant(self.contest, met, rng) if is_due(number, self.rules.check_every, rng) else None
        if fields is None:
            drawn = draw(self.contest, self.tally(), met, rng)
            if drawn is None:
                return None
            fields = self._fill(drawn)
        given = {"id": new_id(), "voter": voter, "number": number, "run": self.contest.run}
        return Ballot.model_validate({"shown_at": self._clock(), **given, **fields})

    def _fill(self, drawn: Pairing) -> dict[str, Any]:
        """A ballot's fields for two stored answers."""
        answers = self.contest.answers[drawn.example_id]
        a, b = answers[drawn.a], answers[drawn.b]
        return {
            "example_id": drawn.example_id,
            "category": a.category,
            "messages": a.messages,
            "reference": a.reference,
            "contestant_a": drawn.a,
            "contestant_b": drawn.b,
            "answer_a": a.completion,
            "answer_b": b.completion,
        }

    def _admit(self, voter: str) -> None:
        if not self.office.control.open:
            raise NotAllowed("the arena is closed")
        if voter in self.office.blocked:
            raise NotAllowed("you may not vote here")

    def _own(self, voter: str, ballot_id: str) -> Ballot:
        ballot = self.store.ballot(ballot_id)
        if ballot is None or ballot.voter != voter:
            raise NotAllowed("this battle is not yours to vote on")
        return ballot

    def _slow_down(self, voter: str) -> None:
        if self.store.votes_since(voter, self._clock() - 60) >= self.rules.per_minute:
            raise NotAllowed(f"more than {self.rules.per_minute} votes in a minute; take a breath")

    def _line(self, ballot: Ballot, before: Cast | None, action: Action, outcome: Outcome | None) -> Cast:
        return Cast(
            ballot=ballot.id,
            revision=before.revision + 1 if before else 0,
            action=action,
            outcome=outcome,
            cast_at=self._clock(),
        )
