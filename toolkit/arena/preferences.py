"""Votes to preference pairs: the rows `dpo` trains on, each with the votes it came from.

Votes on the same two answers are taken together, whoever was shown on which side. A tie says nothing about
which answer to prefer and is dropped; what is left has to agree. Every vote is behind a pair or is counted
under a reason.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from toolkit.arena.battles import BattlePool, Reveal
from toolkit.types import Message, Outcome, Record, Vote, digest


class VoteWithTexts(Record):
    """One vote of a person or judge with both answer texts."""

    example_id: str
    messages: tuple[Message, ...] = ()
    contestant_a: str
    contestant_b: str
    answer_a: str = ""
    answer_b: str = ""
    outcome: Outcome
    voter: str


class Provenance(Record):
    """Provenance of a preference row."""

    example_id: str
    chosen_contestant: str
    rejected_contestant: str
    votes: int
    """Votes on these two answers, ties left out."""
    agreement: float
    """Share of them that chose as this row does."""
    voters: tuple[str, ...]


class PreferenceRow(Record):
    """A row in TRL's conversational preference format, with its provenance beside it."""

    id: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    provenance: Provenance


@dataclass(frozen=True)
class PreferenceOptions:
    """Selection rules for preference pairs."""

    min_votes: int = 1
    min_agreement: float = 0.6
    heldout_share: float = 0.1
    """Of the prompts; every pair on a prompt falls on the same side of the split."""
    seed: int = 0


REASONS = ("tie", "too few votes", "disagreement", "identical answers", "multi-turn", "no text")


@dataclass
class Preferences:
    train: list[PreferenceRow] = field(default_factory=list)
    heldout: list[PreferenceRow] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    """Why battles made no pair, and how many."""
    dropped_votes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    """The votes on these battles; with those behind the pairs they are all votes."""


def preferences(votes: Iterable[VoteWithTexts], requested: PreferenceOptions | None = None) -> Preferences:
    """Turn votes into training and held-out preference rows; see the module."""
    options, found = requested or PreferenceOptions(), Preferences()
    for battle in group_by_texts(votes).values():
        row = _row(battle, options)
        if isinstance(row, str):
            found.dropped[row] += 1
            found.dropped_votes[row] += len(battle)
            continue
        # By the hash of the prompt: the same prompt falls on the same side in every export.
        place = int(digest(str(options.seed), prompt_key(row.prompt)), 16) / 2**64
        (found.heldout if place < options.heldout_share else found.train).append(row)
    return found


def votes_from_reveals(reveals: Iterable[Reveal], pool: BattlePool | None = None) -> list[VoteWithTexts]:
    """Arena votes with their stored texts; imported votes without texts take them from the run's `pool`."""
    found = []
    for reveal in reveals:
        fields = reveal.ballot.model_dump(include=set(VoteWithTexts.model_fields))
        vote = VoteWithTexts(**fields, outcome=reveal.cast.outcome)
        found.append(vote if vote.answer_a or vote.answer_b else _with_texts(vote, pool) or vote)
    return found


def votes_with_run_texts(pool: BattlePool, votes: Iterable[Vote]) -> list[VoteWithTexts]:
    """Votes that name their example and contestants only (a judge's), with the texts of the run."""
    found = []
    for vote in votes:
        who = {"contestant_a": vote.model_a, "contestant_b": vote.model_b, "voter": vote.voter or vote.kind}
        bare = VoteWithTexts(example_id=vote.example_id, outcome=vote.outcome, **who)
        if (with_texts := _with_texts(bare, pool)) is not None:
            found.append(with_texts)
    return found


def _with_texts(vote: VoteWithTexts, pool: BattlePool | None) -> VoteWithTexts | None:
    """The vote with the run's prompt and answers, where it has both."""
    answers = pool.answers.get(vote.example_id, {}) if pool else {}
    a, b = answers.get(vote.contestant_a), answers.get(vote.contestant_b)
    if a is None or b is None:
        return None
    texts = {"messages": a.messages, "answer_a": a.completion, "answer_b": b.completion}
    return vote.model_copy(update=texts)


def group_by_texts(votes: Iterable[VoteWithTexts]) -> dict[str, list[VoteWithTexts]]:
    """Group votes by prompt and unordered pair of texts, or of contestants where the texts are not known."""
    battles: dict[str, list[VoteWithTexts]] = defaultdict(list)
    for vote in votes:
        sides = vote.answer_a, vote.answer_b
        if not any(sides):
            sides = f"{vote.example_id}: {vote.contestant_a}", f"{vote.example_id}: {vote.contestant_b}"
        battles[digest(prompt_key(vote.messages), *sorted(sides))].append(vote)
    return battles


def _row(battle: Sequence[VoteWithTexts], options: PreferenceOptions) -> PreferenceRow | str:
    first = battle[0]
    if unfit := _unfit(first):
        return unfit
    by_text: dict[str, list[VoteWithTexts]] = {first.answer_a: [], first.answer_b: []}
    for vote in battle:
        if vote.outcome in ("a", "b"):
            by_text[vote.answer_a if vote.outcome == "a" else vote.answer_b].append(vote)
    losers, winners = sorted(by_text.values(), key=len)
    decided = [*losers, *winners]
    if len(losers) == len(winners):
        return "disagreement" if decided else "tie"
    if len(decided) < options.min_votes:
        return "too few votes"
    if len(winners) / len(decided) < options.min_agreement:
        return "disagreement"
    best = winners[0]
    sides = (best.contestant_a, best.answer_a), (best.contestant_b, best.answer_b)
    (chosen_by, chosen), (rejected_by, rejected) = sides if best.outcome == "a" else sides[::-1]
    return PreferenceRow(
        id=digest(prompt_key(first.messages), chosen, rejected),
        prompt=first.messages,
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        provenance=Provenance(
            example_id=first.example_id,
            chosen_contestant=chosen_by,
            rejected_contestant=rejected_by,
            votes=len(decided),
            agreement=round(len(winners) / len(decided), 4),
            voters=tuple(sorted({vote.voter for vote in decided})),
        ),
    )


def _unfit(vote: VoteWithTexts) -> str | None:
    """Why no vote on these two answers can make a pair."""
    if not (vote.messages and (vote.answer_a or vote.answer_b)):
        return "no text"
    if vote.answer_a.strip() == vote.answer_b.strip():
        return "identical answers"
    # Where a voter sent several questions, each side has its own history.
    several = any(one.role == other.role == "user" for one, other in pairwise(vote.messages))
    return "multi-turn" if several else None


def prompt_key(messages: Sequence[Message]) -> str:
    """Key of a prompt by its content."""
    return digest(*(part for message in messages for part in (message.role, message.content)))


def untrained_examples(pool: BattlePool, trained: Iterable[PreferenceRow]) -> list[dict[str, Any]]:
    """The examples of a run whose prompts are in no training pair, as rows of a data source: to score on."""
    keys = {prompt_key(row.prompt) for row in trained}
    rows = []
    for example, answers in pool.answers.items():
        first = next(iter(answers.values()))
        if prompt_key(first.messages) not in keys:
            row = {"id": example, "messages": [message.as_dict() for message in first.messages]}
            known = {name: getattr(first, name) for name in ("reference", "references", "category")}
            rows.append(row | {name: value for name, value in known.items() if value})
    return rows
