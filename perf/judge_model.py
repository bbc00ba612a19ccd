"""Trains a small judge on people's verdicts, so that `perf/judge.py --judge OUT` measures one that judges.

python perf/judge_model.py OUT              # OUT: the judge's model folder, a new one; some 15 minutes
python perf/judge_model.py --held-out OUT   # only how often it agrees with people on other pairs

PandaLM's annotated pairs of answers (judge_pandalm/first500.jsonl), those on which at least two of three
annotators prefer the same answer: `TRAINED` of them to learn from, in both orders, and the others to be
measured on. The judge learns both ways of being asked: a letter, and GPT-3.5's reason followed by the verdict
where GPT-3.5 says what people say.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from toolkit import load_recipe, merge_stage, train_stages
from toolkit.judge import judge_battles
from toolkit.judge.aggregation import judge_statistics
from toolkit.judge.logprob import LogprobJudge
from toolkit.judge.prompts import Method, load_prompt, render
from toolkit.judge.verdicts import ORDERS, Comparison
from toolkit.models import load_base
from toolkit.types import SWAPPED, Battle, Message, Outcome

MODEL = "smollm2-135m-instruct"
DATA = Path(os.environ.get("ADAPTER_ARENA_DATA", Path(__file__).parents[2] / "shared" / "data"))
TRAINED = 140

RECIPE = """
name: judge
base: {model}
data: {{verdicts: {{source: {rows}}}}}
stages:
  - name: sft
    method: sft
    data: verdicts
    adapter: {{r: 16}}
    trainer: {{learning_rate: 1.0e-3, num_train_epochs: 1, per_device_train_batch_size: 4, max_length: 1024}}
contestants: {{base: {{}}, sft: {{stage: sft}}}}
scoring: {{examples: verdicts}}
"""


def annotated() -> list[tuple[Battle, Outcome, str]]:
    """Pairs that people prefer one answer of: the battle, the winner, and GPT-3.5's reason or nothing."""
    found = []
    for line in (DATA / "judge_pandalm" / "first500.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        output = [row[f"annotator{number}"] for number in (1, 2, 3)]
        winner = next((side for side in (1, 2) if output.count(side) > 1), None)
        if winner is None:
            continue
        question = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
        battle = Battle(
            example_id=str(row["idx"]),
            messages=(Message(role="user", content=question),),
            model_a="response1",
            model_b="response2",
            completion_a=str(row["response1"]),
            completion_b=str(row["response2"]),
        )
        reason = row["gpt35_reason"] if row["gpt35_verdict"] == str(winner) else ""
        found.append((battle, "a" if winner == 1 else "b", reason))
    return found


def rows() -> Iterator[dict]:
    """Conversations of a judge that says what people said."""
    prompt = load_prompt("pairwise")
    for battle, winner, reason in annotated()[:TRAINED]:
        for order in ORDERS:
            shown = Comparison(battle, order).case()
            letter = prompt.label(winner if order == "ab" else SWAPPED[winner])
            replies: dict[Method, str] = {"letter": letter}
            if reason:
                replies["written"] = f"{in_order(reason, order)}\n[[{letter}]]"
            for method, reply in replies.items():
                requested = render(prompt, method, shown)
                output = [*requested, Message(role="assistant", content=reply)]
                yield {"messages": [turn.model_dump() for turn in output]}


def in_order(reason: str, order: str) -> str:
    """The reason with its answers named in the order they are shown."""
    if order == "ab":
        return reason
    return re.sub(r"(?i)(?<=response )[12]", lambda found: {"1": "2", "2": "1"}[found[0]], reason)


def train(out: Path) -> None:
    work = out.parent / f"{out.name}-training"
    work.mkdir(parents=True)
    source = work / "verdicts.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    recipe = work / "judge.yaml"
    recipe.write_text(RECIPE.format(model=MODEL, rows=source.resolve()), encoding="utf-8")
    train_stages(load_recipe(recipe), work)
    merge_stage(work / "judge", "sft", out, into="dequantized", dtype="float32")


def held_out(model: str, log: Path) -> None:
    """How often the judge says what people say, of the pairs it was not trained on."""
    kept = annotated()[TRAINED:]
    battles = [battle for battle, _, _ in kept]
    winner = {battle.id: outcome for battle, outcome, _ in kept}
    verdicts = judge_battles(LogprobJudge(load_base(model), load_prompt("pairwise")), battles, out=log)
    right = sum(verdict.outcome == winner[verdict.battle_id] for verdict in verdicts)
    (output,) = judge_statistics(battles, verdicts).values()
    print(f"{model}: {right} of {len(verdicts)} verdicts as people say, {right / len(verdicts):.1%}")
    print({key: round(output[key]["value"], 3) for key in ("consistency", "first_position")})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--held-out", action="store_true", help="train nothing, measure the judge in OUT")
    options = parser.parse_args()
    if not options.held_out:
        train(options.out)
    for model in (MODEL, str(options.out)):
        held_out(model, options.out.parent / f"{options.out.name}-held-out.jsonl")


if __name__ == "__main__":
    main()
