"""How fast the arena is with many voters at once, and how much memory a session takes.

    adapter-arena serve RUN --votes-per-minute 1000 & python -m perf.arena http://127.0.0.1:8501 --pid $!

Each voter is a real Streamlit session over a websocket. They think for a while, press a key, look at the
names and go on to the next battle; what counts is the time from the press to the next page, drawn in full.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path

import numpy as np

from tests.apps.visitor import Visitor

CHOICES = ("A is better", "B is better", "Tie", "Both bad")


async def vote(address: str, votes: int, think: float, luck: random.Random) -> list[tuple[float, float]]:
    """One voter; returns seconds from vote to names, and from there to the next battle, for each vote."""
    times = []
    async with Visitor(address) as visitor:
        await asyncio.sleep(think * luck.random())
        for _ in range(votes):
            started = time.perf_counter()
            await visitor.press(luck.choice(CHOICES))
            revealed = time.perf_counter()
            await asyncio.sleep(think * luck.uniform(0.1, 0.4))
            requested = time.perf_counter()
            await visitor.press("Next battle")
            times.append((revealed - started, time.perf_counter() - requested))
            await asyncio.sleep(think * luck.uniform(0.5, 1.5))
    return times


async def measure(address: str, voters: int, votes: int, think: float) -> dict[str, float]:
    """Figures for that many voters at once, in milliseconds."""
    luck = random.Random(0)
    started = time.perf_counter()
    lists = await asyncio.gather(
        *(vote(address, votes, think, random.Random(luck.random())) for _ in range(voters))
    )
    seconds = time.perf_counter() - started
    reveal, following = np.array([pair for times in lists for pair in times]).T * 1000
    both = reveal + following
    return {
        "voters": voters,
        "votes": voters * votes,
        "votes_per_second": round(voters * votes / seconds, 1),
        "reveal_p50_ms": round(float(np.percentile(reveal, 50))),
        "reveal_p95_ms": round(float(np.percentile(reveal, 95))),
        "next_p50_ms": round(float(np.percentile(following, 50))),
        "next_p95_ms": round(float(np.percentile(following, 95))),
        "vote_to_next_p95_ms": round(float(np.percentile(both, 95))),
    }


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("address")
    options.add_argument("--voters", type=int, nargs="+", default=[1, 10, 50])
    options.add_argument("--votes", type=int, default=10, help="votes of each voter")
    options.add_argument("--think", type=float, default=5.0, help="mean seconds between votes")
    options.add_argument("--pid", type=int, help="process of the server, for its memory")
    arguments = options.parse_args()
    before = memory(arguments.pid) if arguments.pid else 0
    for voters in arguments.voters:
        figures = asyncio.run(measure(arguments.address, voters, arguments.votes, arguments.think))
        if arguments.pid:
            figures["memory_mb"] = round(memory(arguments.pid) / 1e6)
            figures["memory_before_mb"] = round(before / 1e6)
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
