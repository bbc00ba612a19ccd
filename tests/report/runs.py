"""A finished run as it lies on disk, made up from our own words: no model is asked."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

from toolkit import io
from toolkit.judge.aggregation import aggregate_votes, judge_statistics
from toolkit.metrics import Measurement, difference, score
from toolkit.metrics.measurement import measurement_from_values
from toolkit.ratings import bradley_terry
from toolkit.recipe import Recipe, dump
from toolkit.types import Battle, Completion, Message, Ratings, Score, StageResult, Summary, Verdict

NAMES = ("base", "base-fewshot", "sft", "dpo")
THINGS = ["bread oven", "garden hose", "tea tray", "night lamp", "rain coat", "bird feeder"]
FAULTS = ["squeaks", "leaks at the seam", "lost a screw", "came in the wrong colour", "will not close"]
WISHES = ["swap it", "pay me back", "mend it", "ring me"]
SKILL = {"base": 0.15, "base-fewshot": 0.62, "sft": 0.85, "dpo": 0.88}
EXAMPLES = 60


def write_run(folder: Path, *, name: str = "synthetic", judge: bool = True, seed: int = 1) -> Path:
    """Write every file a finished run has, and nothing of the report."""
    rng = random.Random(seed)
    answers = _answers(rng)
    found = [m for contestant in NAMES for m in _measurements(answers[contestant], rng)]
    by_metric = {(m.contestant, m.metric): m for m in found}
    metrics = list(dict.fromkeys(m.metric for m in found))
    differences = [
        difference(by_metric[later, metric], by_metric[earlier, metric])
        for i, earlier in enumerate(NAMES)
        for later in NAMES[i + 1 :]
        for metric in metrics
    ]
    battles, verdicts = _battles(answers, rng) if judge else ([], [])
    cast = aggregate_votes(battles, verdicts)
    benchmarks = _benchmarks(folder)
    stages = (
        StageResult(
            name="sft",
            method="sft",
            seconds=94.2,
            peak_memory_bytes=3_700_000_000,
            train_loss=0.512,
            heldout={"loss": 0.411},
        ),
        StageResult(
            name="dpo",
            method="dpo",
            seconds=131.0,
            peak_memory_bytes=4_100_000_000,
            train_loss=0.402,
            heldout={"loss": 0.431, "accuracy": 0.82},
        ),
    )
    summary = Summary(
        run=name,
        contestants=NAMES,
        scores=tuple([score(m) for m in found] + benchmarks),
        differences=tuple(d for d in differences if d),
        ratings=Ratings(judge=bradley_terry(cast).ratings if cast else ()),
        stages=stages,
        skipped=(),
        seconds=402.5,
        notes={"judge": judge_statistics(battles, verdicts)} if judge else {},
    )
    io.write_json(folder / "summary.json", summary)
    for contestant in NAMES:
        io.write(folder / "completions" / f"{contestant}.jsonl", answers[contestant])
        io.write(
            folder / "measurements" / f"{contestant}.jsonl", [m for m in found if m.contestant == contestant]
        )
    if judge:
        io.write(folder / "votes.jsonl", cast)
        io.write(folder / "verdicts.jsonl", verdicts)
    _training(folder, rng)
    _about(folder, name)
    return folder


def _answers(rng: random.Random) -> dict[str, list[Completion]]:
    found: dict[str, list[Completion]] = {name: [] for name in NAMES}
    for index in range(EXAMPLES):
        thing, fault, wish = rng.choice(THINGS), rng.choice(FAULTS), rng.choice(WISHES)
        requested = f"Good day, the {thing} I bought {fault}. It is number {4000 + index}. Please {wish}."
        card = f"Thing: {thing}\nNumber: {4000 + index}\nFault: {fault}\nWish: {wish}\nReply: We {wish} soon."
        for name in NAMES:
            found[name].append(
                Completion(
                    example_id=f"h{index}",
                    contestant=name,
                    messages=(Message(role="user", content=requested),),
                    completion=_reply(card, name, rng),
                    reference=card,
                    finish="length" if name == "base" and rng.random() < 0.3 else "stop",
                    tokens=rng.randint(24, 60),
                )
            )
    return found


def _reply(card: str, name: str, rng: random.Random) -> str:
    if name == "base":
        return "I am sorry to hear that. " + " ".join(rng.choices(card.lower().split(), k=30))
    words = [
        w if rng.random() < SKILL[name] else rng.choice(["perhaps", "item", "none"]) for w in card.split(" ")
    ]
    return " ".join(words)


def _measurements(answers: list[Completion], rng: random.Random) -> list[Measurement]:
    name = answers[0].contestant
    ids = tuple(answer.example_id for answer in answers)
    overlap = {a.example_id: _shared(a.completion, a.reference or "") for a in answers}
    sum_nll = 2.5 - 2.3 * SKILL[name]
    perplexity = tuple((30 * sum_nll * math.exp(rng.gauss(0, 0.2)), 30.0) for _ in answers)
    return [
        Measurement(contestant=name, metric="perplexity", kind="exp_ratio", example_ids=ids, rows=perplexity),
        measurement_from_values(
            name, "rouge1", {key: min(1.0, value * 1.05) for key, value in overlap.items()}
        ),
        measurement_from_values(name, "rougeL", overlap),
        measurement_from_values(name, "chrf", {key: 100 * value**1.2 for key, value in overlap.items()}),
        measurement_from_values(
            name, "bertscore_f1", {key: 0.7 + 0.3 * value for key, value in overlap.items()}
        ),
        measurement_from_values(
            name, "exact_match", {a.example_id: float(a.completion == a.reference) for a in answers}
        ),
        measurement_from_values(
            name, "length_words", {a.example_id: float(len(a.completion.split())) for a in answers}
        ),
    ]


def _shared(text: str, other: str) -> float:
    left, right = text.split(), other.split()
    return 2 * len(set(left) & set(right)) / (len(set(left)) + len(set(right)))


def _battles(answers: dict[str, list[Completion]], rng: random.Random) -> tuple[list[Battle], list[Verdict]]:
    battles, verdicts = [], []
    for index in range(EXAMPLES):
        for i, a in enumerate(NAMES):
            for b in NAMES[i + 1 :]:
                one, two = answers[a][index], answers[b][index]
                battle = Battle(
                    example_id=one.example_id,
                    messages=one.messages,
                    model_a=a,
                    model_b=b,
                    completion_a=one.completion,
                    completion_b=two.completion,
                )
                battles.append(battle)
                for order in ("ab", "ba"):
                    lean = 0.2 if order == "ab" else -0.2
                    p = min(0.95, max(0.05, 0.5 + (SKILL[a] - SKILL[b]) / 2 + lean))
                    outcome = "a" if rng.random() < p else "b"
                    verdicts.append(
                        Verdict(
                            battle_id=battle.id,
                            judge="tiny judge",
                            order=order,
                            outcome=outcome,
                            probability_a=p,
                        )
                    )
    return battles, verdicts


def _benchmarks(folder: Path) -> list[Score]:
    found = []
    for name, value in (("base", 0.41), ("sft", 0.52), ("dpo", 0.5)):
        error = math.sqrt(value * (1 - value) / 80)
        result = {
            "results": {"cards": {"acc,none": value, "acc_stderr,none": error}},
            "higher_is_better": {"cards": {"acc": True}},
            "n-samples": {"cards": {"original": 80, "effective": 80}},
        }
        io.write_json(folder / "benchmarks" / f"{name}.json", result)
        requested = [
            {"doc_id": i, "doc_hash": f"{i:064x}", "metrics": ["acc"], "acc": float(i < round(80 * value))}
            for i in range(80)
        ]
        samples = "".join(json.dumps(row) + "\n" for row in requested)
        io.write_text(folder / "benchmarks" / name / "samples_cards.jsonl", samples)
        found.append(
            Score(
                contestant=name,
                metric="cards/acc",
                value=value,
                low=value - 1.96 * error,
                high=value + 1.96 * error,
                n=80,
            )
        )
    return found


def _training(folder: Path, rng: random.Random) -> None:
    for stage, start, steps in (("sft", 2.4, 76), ("dpo", 0.69, 38)):
        rows = []
        for step in range(1, steps + 1):
            loss = start * math.exp(-3 * step / steps) + 0.2 + rng.gauss(0, 0.03)
            row = {"step": step, "loss": loss, "grad_norm": abs(rng.gauss(1, 0.2))}
            row["learning_rate"] = 1e-3 * (1 - step / steps)
            if stage == "dpo":
                row["rewards/accuracies"] = min(1.0, 0.5 + step / steps / 2)
            rows.append(row)
            if step % 19 == 0:
                rows.append({"step": step, "eval_loss": loss + 0.1})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        io.write_text(folder / "adapters" / stage / "training.jsonl", text)
        lineage = {
            "stage": stage,
            "method": stage,
            "base": "some-base",
            "base_fingerprint": "0123456789abcdef",
        }
        parent = {"parent": "sft", "parent_fingerprint": "fedcba9876543210"} if stage == "dpo" else {}
        io.write_json(folder / "adapters" / stage / "lineage.json", lineage | parent)


def _about(folder: Path, name: str) -> None:
    recipe = Recipe.model_validate(
        {
            "name": name,
            "base": "some-base",
            "seed": 3,
            "data": {
                "cards": {"source": "cards.jsonl"},
                "pairs": {"source": "pairs.jsonl"},
                "held": {"source": "h.jsonl"},
            },
            "stages": [
                {"name": "sft", "method": "sft", "data": "cards"},
                {"name": "dpo", "method": "dpo", "start": "sft", "data": "pairs"},
            ],
            "contestants": {
                "base": {},
                "base-fewshot": {"prompt": [{"role": "system", "content": "Write a card."}]},
                "sft": {"stage": "sft"},
                "dpo": {"stage": "dpo"},
            },
            "scoring": {"examples": "held"},
            "judge": {},
        }
    )
    io.write_text(folder / "recipe.yaml", dump(recipe))
    manifest = {
        "command": f"adapter-arena run {name}",
        "seed": 3,
        "versions": {"python": "3.11.2", "adapter-arena": "0.1.0", "torch": "2.13.0"},
        "hardware": {"processor": "a processor", "cores": 2, "memory_bytes": 24 * 2**30, "gpu": None},
        "data": {"cards": "aaaaaaaaaaaaaaaa", "pairs": "bbbbbbbbbbbbbbbb", "examples": "cccccccccccccccc"},
        "steps": {"train sft": {"inputs": "1111111111111111", "done": True, "seconds": 94.2}},
    }
    io.write_json(folder / "manifest.json", manifest)
