"""Whether the votes determine every rating, and if not, whose they leave open."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.ratings.counts import Counts

Graph = NDArray[np.bool_]


def identifiability_problem(counts: Counts, *, ties_count: bool) -> str | None:
    """Why plain maximum likelihood has no finite solution, in one clause; `None` where it has one.

    It has one exactly when everyone took something from everyone, directly or through others (Ford 1957): no
    group of contestants may be without a loss, or without any battle, against the rest. A tie takes something
    where it is half a win (`ties_count`); a model of ties can put any number of them down to its parameter.
    """
    scored = (counts.points if ties_count else counts.wins) > 0
    if is_strongly_connected(scored):
        return None
    names = counts.names
    groups = components(counts.met > 0)
    if len(groups) > 1:
        some, other = (", ".join(names[i] for i in group[:3]) for group in groups[:2])
        return f"{some} and {other} never met, not even through others"
    group = unbeaten(scored)
    listed = ", ".join(names[i] for i in group[:3]) + (", ..." if len(group) > 3 else "")  # noqa: PLR2004
    return f"{listed} never lost" + (" to any of the others" if len(group) > 1 else "")


def is_strongly_connected(beat: Graph) -> bool:
    """Whether each contestant is reached from each other one along wins."""
    return all(len(reachable(graph, 0)) == len(beat) for graph in (beat, beat.T))


def components(met: Graph) -> list[list[int]]:
    """Groups of contestants that met, directly or through others; the largest first."""
    left, groups = set(range(len(met))), []
    while left:
        group = reachable(met, min(left))
        groups.append(sorted(group))
        left -= group
    return sorted(groups, key=len, reverse=True)


def unbeaten(beat: Graph) -> list[int]:
    """The smallest group that took something from the others and gave them nothing."""
    above = [sorted(reachable(beat.T, i)) for i in range(len(beat))]
    return min(above, key=len)


def reachable(graph: Graph, start: int) -> set[int]:
    """Everyone that can be reached from `start`."""
    seen, frontier = {start}, [start]
    while frontier:
        nearby = set(np.flatnonzero(graph[frontier.pop()]).tolist()) - seen
        seen |= nearby
        frontier.extend(nearby)
    return seen
