"""How fast a large arena is: 100,000 votes by 500 voters on 30 contestants, in SQLite.

    python -m perf.arena_scale

Fills a store, starts `adapter-arena serve` on it, and opens the leaderboard three times: first of all, again,
and after one more vote. Then voters of `perf.arena` vote, each every ten seconds, while one person looks at
the leaderboard every five. Every view is a real Streamlit session; its time ends when the page is whole.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

from apps.server import signed_cookie
from apps.settings import VOTER_COOKIE
from perf.arena import measure
from tests.apps.conftest import start
from tests.apps.visitor import Visitor
from toolkit import io
from toolkit.arena.battles import Ballot, Cast
from toolkit.arena.store import Store
from toolkit.types import Completion, Message, Outcome

EXAMPLES = 400
CATEGORIES = ("code", "home", "numbers")
OUTCOMES: tuple[Outcome, ...] = ("a", "b", "tie", "both_bad")


def write_answers(folder: Path, contestants: int) -> Path:
    """A run whose contestants give answers of some hundred characters."""
    for number in range(contestants):
        name = f"model-{number:02}-{'abcdefghij'[number % 10] * (number % 12)}"
        rows = [
            Completion(
                example_id=f"e{example}",
                contestant=name,
                messages=(Message(role="user", content=f"Question {example}?"),),
                completion=f"Answer {number} to question {example}. " * (4 + (number * example) % 9),
                category=CATEGORIES[example % len(CATEGORIES)],
                finish="stop",
                tokens=50,
            )
            for example in range(EXAMPLES)
        ]
        io.write(folder / "completions" / f"{name}.jsonl", rows)
    return folder


def fill(run: Path, url: str, votes: int, voters: int) -> None:
    """Votes by a crowd that agrees on the contestants' strengths, ties and both-bad included."""
    answers = {
        file.stem: list(io.read(file, Completion)) for file in sorted((run / "completions").glob("*.jsonl"))
    }
    names = list(answers)
    rng = np.random.default_rng(0)
    strength = np.linspace(0, 2, len(names))
    store, lines, now = Store(url), [], time.time() - 86_400
    people = [store.cookie_voter(f"voter {number}") for number in range(voters)]
    for number in range(votes):
        a, b = (int(place) for place in rng.choice(len(names), 2, replace=False))
        example = (number // voters + number % voters) % EXAMPLES  # another one each time for a voter
        one, other = answers[names[a]][example], answers[names[b]][example]
        wins = rng.random() < 1 / (1 + np.exp(strength[b] - strength[a]))
        outcome = OUTCOMES[2 + int(rng.integers(2))] if rng.random() < 0.2 else OUTCOMES[0 if wins else 1]
        key = f"{number:032x}"
        ballot = Ballot(
            id=key,
            voter=people[number % voters],
            number=number // voters,
            run=run.name,
            example_id=one.example_id,
            category=one.category,
            messages=one.messages,
            contestant_a=one.contestant,
            contestant_b=other.contestant,
            answer_a=one.completion,
            answer_b=other.completion,
            shown_at=now,
        )
        seconds = float(rng.lognormal(2.5, 0.5))
        lines.append(
            (
                ballot,
                Cast(ballot=key, revision=0, action="vote", outcome=outcome, cast_at=now, seconds=seconds),
            )
        )
    for begin in range(0, votes, 5000):
        store.load(lines[begin : begin + 5000])
    store.close()


async def view(address: str, page: str, cookie: str | None = None) -> float:
    """Seconds from opening a page to its last element."""
    started = time.perf_counter()
    async with Visitor(address, cookie, page=page):
        return time.perf_counter() - started


async def look_and_vote(
    address: str, voters: int, votes: int, think: float
) -> tuple[dict[str, float], list[float]]:
    """Voters vote while somebody opens the leaderboard every five seconds."""
    views: list[float] = []

    async def look() -> None:
        while True:
            await asyncio.sleep(5)
            views.append(await view(address, "leaderboard"))

    looking = asyncio.create_task(look())
    figures = await measure(address, voters, votes, think)
    looking.cancel()
    return figures, views


async def run_all(address: str, url: str, arguments: argparse.Namespace) -> None:
    print("| what | seconds |\n| --- | --- |", flush=True)
    print(f"| leaderboard, first view | {await view(address, 'leaderboard'):.2f} |", flush=True)
    print(f"| leaderboard, again | {await view(address, 'leaderboard'):.2f} |", flush=True)
    cookie = f"{VOTER_COOKIE}={signed_cookie(Store(url).keyed_hash)}"
    async with Visitor(address, cookie) as visitor:
        started = time.perf_counter()
        await visitor.press("A is better")
        print(f"| first vote | {time.perf_counter() - started:.2f} |", flush=True)
    print(f"| leaderboard, one vote later | {await view(address, 'leaderboard'):.2f} |", flush=True)
    figures, views = await look_and_vote(address, arguments.voters, arguments.votes_each, 10.0)
    print(f"| leaderboard while {arguments.voters} vote, median of {len(views)} | {np.median(views):.2f} |")
    print(f"| the same, slowest | {max(views):.2f} |")
    for name in ("reveal_p50_ms", "reveal_p95_ms", "next_p95_ms", "vote_to_next_p95_ms"):
        print(f"| {name.removesuffix('_ms')} while {arguments.voters} vote | {figures[name] / 1000:.3f} |")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--contestants", type=int, default=30)
    options.add_argument("--votes", type=int, default=100_000)
    options.add_argument("--crowd", type=int, default=500, help="voters of the votes that are there")
    options.add_argument("--voters", type=int, default=50, help="voters while it is measured")
    options.add_argument("--votes-each", type=int, default=5)
    options.add_argument("--folder", type=Path, help="keep the run here, and use the one that is there")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run = (arguments.folder or Path(temporary)) / "scale"
        url = f"sqlite:///{run.resolve() / 'arena.db'}"
        if not (run / "arena.db").exists():
            write_answers(run, arguments.contestants)
            fill(run, url, arguments.votes, arguments.crowd)
        process, address = start(run, "--votes-per-minute", "100000", "--voters-per-address", "0")
        try:
            asyncio.run(run_all(address, url, arguments))
        finally:
            process.terminate()
            process.wait(timeout=20)


if __name__ == "__main__":
    main()
