"""Do the intervals of scores and differences cover what they promise? Simulated samples of known truth.

python perf/score_coverage.py --data DIR            # the table of docs/scoring.md, some minutes
python perf/score_coverage.py --repeats 200 --sizes 50
python perf/score_coverage.py --data DIR --only chrF

Some samples are drawn from distributions. For ROUGE-L, BLEU, chrF and TER real answers are the population
(DIR/ref_selfinstruct/test.jsonl; left out: $ADAPTER_ARENA_DATA, else these lines are missing), and the truth
is its own figure. A cell is the share of 95% intervals that hold the truth; over several models' answers, the
mean of such shares and the least and the largest of them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from toolkit.metrics import Measurement, difference, intervals, reference_scorers, score
from toolkit.metrics.measurement import Array, Kind, combine

Draw = Callable[[np.random.Generator, int], tuple[float | None, float | None]]
"""(random numbers, how many examples) -> an interval."""

GROUP = 5
"""Questions on one passage."""


def measured(table: Array, kind: Kind = "mean", name: str = "a") -> Measurement:
    rows = tuple(tuple(row) for row in np.asarray(table, dtype=float).reshape(len(table), -1).tolist())
    ids = tuple(str(i) for i in range(len(table)))
    return Measurement(contestant=name, metric="m", kind=kind, example_ids=ids, rows=rows)


def of_score(table: Array, kind: Kind = "mean") -> tuple[float | None, float | None]:
    found = score(measured(table, kind))
    return found.low, found.high


def of_difference(left: Array, right: Array, kind: Kind = "mean") -> tuple[float | None, float | None]:
    found = difference(measured(left, kind), measured(right, kind, "b"))
    return (None, None) if found is None else (found.low, found.high)


def accuracy(share: float) -> Draw:
    return lambda rng, n: of_score(rng.random(n) < share)


def any_accuracy(rng: np.random.Generator, n: int) -> tuple[float | None, float | None]:
    """Right and wrong at a share of its own each time, from 50% to 97%; the interval less that share.

    At one share coverage jumps with every further example, since there are only n + 1 outcomes.
    """
    share = rng.uniform(0.5, 0.97)
    low, high = of_score(rng.random(n) < share)
    return (None, None) if low is None or high is None else (low - share, high - share)


def paired_accuracy(rng: np.random.Generator, n: int) -> tuple[float | None, float | None]:
    """Two contestants right on 60% and 70% of the same questions; both on most of them."""
    cell = rng.choice(4, n, p=[0.52, 0.08, 0.18, 0.22])
    return of_difference(np.isin(cell, (0, 2)), np.isin(cell, (0, 1)))


def paired_means(rng: np.random.Generator, n: int) -> tuple[float | None, float | None]:
    """Scores from 0 to 1 that hang together, the first 0.05 higher."""
    hard = rng.beta(2, 2, n)
    left, right = (0.8 * hard + rng.normal(0, 0.1, n) for _ in range(2))
    return of_difference(left + 0.05, right)


def clustered(rng: np.random.Generator, n: int) -> tuple[float | None, float | None]:
    """Questions in groups of five that are easy or hard together; mean difficulty 0.6."""
    easy = np.repeat(rng.beta(3, 2, n // GROUP), GROUP)
    right = measured(rng.random(len(easy)) < easy)
    found = score(intervals.clustered(right, {str(i): str(i // GROUP) for i in range(len(easy))}))
    return found.low, found.high


def ungrouped(rng: np.random.Generator, n: int) -> tuple[float | None, float | None]:
    """The same, groups left out of account."""
    easy = np.repeat(rng.beta(3, 2, n // GROUP), GROUP)
    return of_score(rng.random(len(easy)) < easy)


def perplexities(rng: np.random.Generator, n: int) -> tuple[float | None, float | None]:
    """Nats of answers of 10 to 60 tokens, 0.5 a token; answers differ in how surprising they are."""
    tokens = rng.integers(10, 61, n)
    sum_nll = rng.gamma(4.0, 0.125, n) * tokens
    return of_score(np.stack([sum_nll, tokens], axis=1), "exp_ratio")


def unlike_perplexities(rng: np.random.Generator, n: int) -> tuple[float | None, float | None]:
    """The same of answers of very unlike length: median 55 tokens, two in three from 20 to 150."""
    tokens = np.ceil(np.exp(rng.normal(4.0, 1.0, n)))
    return of_score(np.stack([rng.gamma(4.0, 0.125, n) * tokens, tokens], axis=1), "exp_ratio")


def mostly_perfect(unlike: float) -> Draw:
    """Scores of 1 but for a share of the examples, whose scores are anywhere from 0 to 1."""
    return lambda rng, n: of_score(np.where(rng.random(n) < unlike, rng.random(n), 1.0))


def mostly_alike(unlike: float) -> Draw:
    """The difference of two contestants like that."""

    def draw(rng: np.random.Generator, n: int) -> tuple[float | None, float | None]:
        left, right = (np.where(rng.random(n) < unlike, rng.random(n), 1.0) for _ in range(2))
        return of_difference(left, right)

    return draw


Case = tuple[float, Draw]
"""The truth, and how to draw an interval."""

CASES: dict[str, Case] = {
    "right or wrong, 70% right (Wilson)": (0.7, accuracy(0.7)),
    "right or wrong, 50% to 97% right (Wilson)": (0.0, any_accuracy),
    "perplexity (BCa)": (math.exp(0.5), perplexities),
    "perplexity of texts of very unlike length (BCa)": (math.exp(0.5), unlike_perplexities),
    "1 but for 3% of the examples (BCa, widened)": (0.985, mostly_perfect(0.03)),
    "1 but for 15% of the examples (BCa, widened)": (0.925, mostly_perfect(0.15)),
    "the difference of two such, 3% (Student, widened)": (0.0, mostly_alike(0.03)),
    "difference of right or wrong, paired (Agresti-Min)": (0.1, paired_accuracy),
    "difference of means, paired (Student)": (0.05, paired_means),
    "right or wrong in groups of 5, over groups (Student, logit)": (0.6, clustered),
    "the same, groups left out of account": (0.6, ungrouped),
}
"""What is drawn from distributions."""


def from_rows(kind: Kind, rows: Array) -> Case:
    """A metric whose population is some real rows."""
    truth = float(combine(kind, rows.sum(axis=0), len(rows)))
    return truth, lambda rng, n: of_score(rows[rng.integers(len(rows), size=n)], kind)


def apart(kind: Kind, rows: Array, other: Array) -> Case:
    """The paired difference of two models whose population is some real rows."""
    one, two = (float(combine(kind, table.sum(axis=0), len(table))) for table in (rows, other))

    def draw(rng: np.random.Generator, n: int) -> tuple[float | None, float | None]:
        chosen = rng.integers(len(rows), size=n)
        return of_difference(rows[chosen], other[chosen], kind)

    return one - two, draw


def answers(data: Path) -> tuple[dict[str, list[str]], list[list[str]]]:
    """Eight models' answers to the same questions, and people's."""
    rows = [
        json.loads(line) for line in (data / "ref_selfinstruct/test.jsonl").read_text().strip().split("\n")
    ]
    reply = {name: [row["outputs"][name] for row in rows] for name in rows[0]["outputs"]}
    return reply, [[row["reference"]] for row in rows]


def real_cases(data: Path) -> dict[str, Sequence[Case]]:
    """ROUGE-L, BLEU, chrF and TER of real answers."""
    reply, known = answers(data)
    one, two, *_ = reply.values()
    rouge, other = (np.array(reference_scorers.rouge_rows(texts, known))[:, 2:3] for texts in (one, two))
    bleu, chrf = (
        [np.array(rows(texts, known)) for texts in reply.values()]
        for rows in (reference_scorers.bleu_rows, reference_scorers.chrf_rows)
    )
    return {
        "ROUGE-L of real answers (BCa)": [from_rows("mean", rouge)],
        "BLEU of eight models' answers (Student, logit)": [from_rows("bleu", rows) for rows in bleu],
        "chrF of eight models' answers (Student, logit)": [from_rows("chrf", rows) for rows in chrf],
        "TER of real answers, one of them endless (BCa)": [
            from_rows("ter", np.array(reference_scorers.ter_rows(one, known)))
        ],
        "difference in ROUGE-L of two real models": [apart("mean", rouge, other)],
        "difference in chrF of two real models": [apart("chrf", *chrf[:2])],
    }


def coverage(truth: float, draw: Draw, n: int, repeats: int) -> float:
    """Share of intervals that hold the truth."""
    rng = np.random.default_rng(n)
    found = (draw(rng, n) for _ in range(repeats))
    return sum(low is not None and high is not None and low <= truth <= high for low, high in found) / repeats


def cell(shares: Sequence[float]) -> str:
    """In percent; of several, their mean and between what they lie."""
    mean, least, most = (f"{100 * share:.1f}" for share in (np.mean(shares), min(shares), max(shares)))
    return mean if len(shares) == 1 else f"{mean} ({least} to {most})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ADAPTER_ARENA_DATA"))
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000, help="of each bootstrap; scores take 4000")
    parser.add_argument("--only", default="", help="lines whose name has these words")
    parser.add_argument("--sizes", type=int, nargs="+", default=[30, 100, 300])
    options = parser.parse_args()
    intervals.RESAMPLES = options.resamples
    cases = {name: [case] for name, case in CASES.items()} | (
        real_cases(options.data) if options.data else {}
    )
    print(f"% of 95% intervals that hold the truth, {options.repeats} samples each")
    print(f"| examples | {' | '.join(map(str, options.sizes))} |")
    print("| --- |" + " ---: |" * len(options.sizes))
    for name, several in cases.items():
        if options.only.lower() in name.lower():
            cells = [cell([coverage(*case, n, options.repeats) for case in several]) for n in options.sizes]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
