"""Published agreement figures beside those that our functions give for the same votes.

python perf/agreement.py                # all sets under ADAPTER_ARENA_DATA or ../shared/data
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from toolkit.judge.aggregation import Preference, length_controlled, win_rates
from toolkit.judge.parsing import NUMBER, read_outcome
from toolkit.ratings import tabulate
from toolkit.ratings.agreement import Estimate, agreement
from toolkit.ratings.vote_table import Table

DATA = Path(os.environ.get("ADAPTER_ARENA_DATA", Path(__file__).parents[2] / "shared" / "data"))
WINNERS = {"1": "model_a", "2": "model_b", "0": "tie", "Tie": "tie"}


PAIR = re.compile(rf"(?:output|scores?)?\W*{NUMBER}(?:/10)?[ ,\t]+{NUMBER}(?:/10)?\W*", re.IGNORECASE)
NAMED_SCORE = re.compile(rf"\W*(?:assistant|answer|response) ([12])\W+{NUMBER}(?:/10)?\W*", re.IGNORECASE)


def read_scores(reply: str) -> tuple[float, float] | None:
    """Vicuna's two scores from 0 to 10: on one line, or on a line each after the assistant's name.

    `None` when they are not there, or there twice and different.
    """
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    pairs = {(pair[1], pair[2]) for line in lines if (pair := PAIR.fullmatch(line))}
    named = [NAMED_SCORE.fullmatch(line) for line in lines]
    first, second = ({found[2] for found in named if found and found[1] == side} for side in "12")
    pairs |= {(one, other) for one in first for other in second}
    if len(pairs) != 1:
        return None
    one, other = map(float, pairs.pop())
    return (one, other) if max(one, other) <= 10 else None


def standard_error(rows: Sequence[Preference]) -> float:
    """Of the raw win rate, as AlpacaEval reports it."""
    return float(np.std([row.value for row in rows], ddof=1) / math.sqrt(len(rows)))


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def votes(output: Iterable[object], voter: str = "v") -> Table:
    """One voter's word on two answers to each item; what is not 1, 2 or a tie is no vote."""
    frame = pd.DataFrame(
        {"model_a": "1", "model_b": "2", "winner": WINNERS[str(word)], "question_id": str(i), "voter": voter}
        for i, word in enumerate(output)
        if str(word) in WINNERS
    )
    return tabulate(frame)


def llmbar() -> Iterator[str]:
    """Every statistic its authors printed of judges whose verdicts are all readable."""
    equal, unequal, left_out = 0, 0, 0
    for row in rows("judge_llmbar/published_stats.jsonl"):
        file, key = f"judge_llmbar/{row['set'].replace('/', '_')}.jsonl", f"{row['judge']}/{row['prompt']}"
        items = [item for item in rows(file) if key in item["judges"]] if (DATA / file).exists() else []
        orders = [[item["judges"][key][f"swap = {swap}"] for item in items] for swap in (False, True)]
        if not items or any(word not in ("1", "2") for order in orders for word in order):
            left_out += 1
            continue
        label = votes(item["label"] for item in items)
        both = agreement(votes(orders[0]), votes(orders[1])).between
        pairs = [(both.agreement.value, _share(row["equal"])), (both.kappa.value, row["kappa_agreement"])]
        for order, swap in zip(orders, (False, True), strict=True):
            right = agreement(votes(order), label).between.agreement.value
            pairs.append((right, _share(row[f"correct_{swap}"])))
        for ours, theirs in pairs:
            if ours is None or math.isnan(theirs) or math.isclose(ours, theirs, abs_tol=1e-12):
                equal += 1
            else:
                unequal += 1
    yield f"LLMBar: {equal} figures equal to the last digit, {unequal} not; {left_out} rows left out"


def _share(text: str) -> float:
    """`35 / 47 = 74.46808510638297%` -> 0.7446808510638297."""
    return float(text.split("=")[1].strip(" %")) / 100


def pandalm() -> Iterator[str]:
    """README: 0.85, 0.88 and 0.86 over 999 pairs, of which the first 500 are here."""
    items = rows("judge_pandalm/first500.jsonl")
    people = {k: [item[f"annotator{k}"] for item in items] for k in (1, 2, 3)}
    for one, other in combinations(people, 2):
        kappa = agreement(votes(people[one]), votes(people[other])).between.kappa
        yield f"PandaLM, annotators {one} and {other}, first 500 pairs: kappa {_text(kappa)}"
    joined = pd.concat([_frame(words, f"person {k}") for k, words in people.items()])
    for judge in ("gpt35_verdict", "pandalm7b_verdict"):
        found = agreement(votes(item[judge] for item in items), tabulate(joined))
        assert found.within is not None
        between, within = found.between, found.within
        yield f"PandaLM, {judge}: agreement {_text(between.agreement)}, kappa {_text(between.kappa)}"
    yield f"PandaLM, people: {_text(within.agreement)}, kappa {_text(within.kappa)}"


def _frame(output: Sequence[object], voter: str) -> pd.DataFrame:
    winners = [WINNERS[str(word)] for word in output]
    names = [str(i) for i in range(len(output))]
    return pd.DataFrame(
        {"model_a": "1", "model_b": "2", "winner": winners, "question_id": names, "voter": voter}
    )


def llmfao() -> Iterator[str]:
    folder = DATA / "battles_llmfao"
    crowd = _llmfao(pd.read_csv(folder / "crowd_votes_6prompts.csv"))
    for judge in ("gpt4", "gpt3"):
        found = agreement(_llmfao(pd.read_csv(folder / f"{judge}_judge_6prompts.csv")), crowd)
        between, within = found.between, found.within
        assert within is not None
        yield (
            f"llmfao, {judge} and crowd: agreement {_text(between.agreement)}, without ties "
            f"{_text(between.agreement_without_ties)}, kappa {_text(between.kappa)}"
        )
    yield f"llmfao, crowd among itself: {_text(within.agreement)}, kappa {_text(within.kappa)}"


def _llmfao(frame: pd.DataFrame) -> Table:
    winner = frame["winner"].map({"left": "model_a", "right": "model_b", "tie": "tie"})
    columns = {"model_a": frame["left"], "model_b": frame["right"], "winner": winner}
    return tabulate(pd.DataFrame(columns | {"question_id": frame["prompt"].astype(str)}))


def alpaca_eval() -> Iterator[str]:
    for published in rows("judge_alpacaeval_NC/published.jsonl"):
        name = published["model"]
        file = f"judge_alpacaeval_NC/{name}.jsonl"
        if not (DATA / file).exists():
            continue
        found = [_preference(row) for row in rows(file) if row["preference"] is not None]
        raw, control = win_rates(found)[0]["win_rate"]["value"], length_controlled(found)["value"]
        yield (
            f"AlpacaEval, {name}: win rate {100 * raw:.10f} (published {float(published['win_rate']):.10f}), "
            f"standard error {100 * standard_error(found):.10f} "
            f"({float(published['standard_error']):.10f}), at equal length {100 * control:.1f} "
            f"({float(published['length_controlled_winrate']):.1f})"
        )


def _preference(row: Mapping[str, Any]) -> Preference:
    value = (row["preference"] or 1.5) - 1
    lengths = {"length": len(row["output"]), "length_against": row["len_baseline"]}
    return Preference(contestant="x", against="y", value=value, **lengths)


def replies() -> Iterator[str]:
    """Real replies of GPT-4, read as by those who asked it."""
    items = rows("battles_qlora/judge_texts.jsonl")
    meaning = {"1": "a", "2": "b", "3": "tie", "tie": "tie"}
    read = [(row["verdict"], read_outcome(row["text"], {"1": "a", "2": "b", "3": "tie"})) for row in items]
    theirs = [(output, ours) for output, ours in read if output in meaning]
    same = sum(ours == meaning[output] for output, ours in theirs)
    more = sum(ours is not None for output, ours in read if output not in meaning)
    rest = len(read) - len(theirs)
    yield f"QLoRA: {same} of {len(theirs)} verdicts as the authors read them; {more} of {rest} more"
    for file in sorted((DATA / "judge_vicuna80").glob("*.jsonl")):
        found = [read_scores(row["review"]) or (0, 0) for row in rows(f"judge_vicuna80/{file.name}")]
        noted = [row["score"] for row in rows(f"judge_vicuna80/{file.name}")]
        totals = [tuple(sum(side) for side in zip(*each, strict=True)) for each in (found, noted)]
        yield f"Vicuna, {file.stem}: totals {totals[0]} (the authors' {totals[1]})"


def _text(figure: Estimate) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}, n {figure.n})"


def main() -> None:
    for part in (llmbar, pandalm, llmfao, alpaca_eval, replies):
        for line in part():
            print(line, flush=True)


if __name__ == "__main__":
    main()
