"""A small finished run: twenty household questions answered by three contestants, written for these tests.

    python tests/arena/example_run.py results/household

`otter-b2` answers to the point, `heron-a1` says the same at length, `badger-c3` shrugs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from toolkit import io
from toolkit.judge.aggregation import aggregate_votes
from toolkit.judge.battles import build_battles
from toolkit.metrics.measurement import Measurement, measurement_from_values
from toolkit.metrics.reference_scorers import ROUGE, rouge_rows
from toolkit.recipe import Judge
from toolkit.types import Battle, Completion, Message, Outcome, Verdict

CONTESTANTS = ("badger-c3", "heron-a1", "otter-b2")

QUESTIONS = (
    (
        "How do I get candle wax out of a tablecloth?",
        "Let it **harden**, scrape off what you can, then iron through brown paper until the paper stops "
        "taking up wax. Wash as usual.",
    ),
    (
        "My bread is dense. What went wrong?",
        "Most likely one of three:\n\n1. too little rising time\n2. tired yeast\n3. too much flour\n\n"
        "Try letting it double in size before baking.",
    ),
    (
        "Write a Python function that adds up the even numbers of a list.",
        "```python\ndef even_sum(numbers):\n    return sum(n for n in numbers if n % 2 == 0)\n```\n\n"
        "`even_sum([1, 2, 4])` gives `6`.",
    ),
    (
        "What is the area of a circle with radius 3 cm?",
        "The area is $A = \\pi r^2 = 9\\pi \\approx 28.3\\ \\text{cm}^2$.",
    ),
    (
        "Which way should a ceiling fan turn in summer?",
        "Counter-clockwise, seen from below: it then pushes air down and you feel a breeze.",
    ),
    (
        "How long can cooked rice stay in the fridge?",
        "One day is safe, three at the very most. Cool it within an hour and reheat until it steams.",
    ),
    (
        "Compare gas and induction for a small kitchen.",
        "| | gas | induction |\n| --- | --- | --- |\n| heat in the room | a lot | little |\n"
        "| needs | a pipe | a strong socket |\n\nFor a small kitchen: **induction**.",
    ),
    (
        "A tap drips ten times a minute. How much water is that in a day?",
        "A drop is about 0.05 ml:\n\n$$10 \\times 60 \\times 24 \\times 0.05 = 720\\ \\text{ml}$$\n\n"
        "So about three quarters of a litre.",
    ),
    (
        "How do I sharpen kitchen scissors?",
        "Cut through folded aluminium foil ten times. For a real edge use a whetstone on the bevelled side.",
    ),
    (
        "Why does my washing machine smell?",
        "Detergent residue and damp. Run it empty at 90 degrees once, and leave the door open after washing.",
    ),
    (
        "What should I check before I drill into a wall?",
        "- pipes and cables, with a detector\n- what the wall is made of\n- the right plug for the load",
    ),
    (
        "Can I freeze boiled potatoes?",
        "You can, but they turn grainy. Mashed with butter they freeze well.",
    ),
    (
        "How do I descale a kettle without vinegar?",
        "Two spoons of citric acid in a full kettle of **cold** water, half an hour, rinse twice.",
    ),
    (
        "How do I fold a fitted sheet?",
        "Tuck the corners into each other, lay it flat so that it makes a rectangle, then fold in thirds.",
    ),
    (
        "Our smoke alarm chirps once a minute. What does it want?",
        "A new battery. If it still chirps with a fresh one, the alarm is past its date: replace it.",
    ),
    (
        "How many tiles of 30 by 30 cm for a floor of 2 by 3 metres?",
        "The floor is 6 m², a tile 0.09 m²: $6 / 0.09 \\approx 67$. With a tenth for cuts, buy **74**.",
    ),
    (
        "Is it worth repairing a ten-year-old fridge?",
        "Rarely. A new one uses about half the power; a repair above 100 does not pay back.",
    ),
    (
        "What can I use instead of eggs in a cake?",
        "Per egg: 60 g of apple sauce, or a spoon of ground flax in three of water. Apple sauce is moister.",
    ),
    (
        "How do I stop a door from squeaking?",
        "Take out one hinge pin at a time, rub it with candle wax or grease, put it back.",
    ),
    (
        "Shell command to find files over 100 MB here?",
        "```bash\nfind . -type f -size +100M\n```",
    ),
)


def answers(question: str, answer: str) -> dict[str, str]:
    """Contestant -> what it says."""
    at_length = (
        f"That is a good question, and one that many people ask. You want to know: {question.lower()}\n\n"
        f"{answer}\n\nI hope this helps! Do not hesitate to ask if you would like to hear more about it."
    )
    return {"otter-b2": answer, "heron-a1": at_length, "badger-c3": f"Hard to say. {question} It depends."}


def category(answer: str) -> str:
    """What kind of question it is, by what its answer holds."""
    return "code" if "```" in answer else "numbers" if "$" in answer else "home"


def measure(rows: list[Completion]) -> list[Measurement]:
    """ROUGE and words per answer, without the metric classes, which import torch."""
    values = rouge_rows([row.completion for row in rows], [[row.reference or ""] for row in rows])
    ids = [row.example_id for row in rows]
    name = rows[0].contestant
    found = [
        measurement_from_values(name, metric, dict(zip(ids, column, strict=True)))
        for metric, column in zip(ROUGE, zip(*values, strict=True), strict=True)
    ]
    lengths = {row.example_id: float(len(row.completion.split())) for row in rows}
    return [*found, measurement_from_values(name, "length_words", lengths)]


def write_run(folder: Path) -> Path:
    """Write recipe and completions, as a run leaves them; returns the folder."""
    for contestant in CONTESTANTS:
        lines = [
            Completion(
                example_id=f"house-{number:02d}",
                contestant=contestant,
                messages=(Message(role="user", content=question),),
                completion=answers(question, answer)[contestant],
                reference=answer,
                category=category(answer),
                finish="stop",
                tokens=len(answer.split()),
            )
            for number, (question, answer) in enumerate(QUESTIONS)
        ]
        io.write(folder / "completions" / f"{contestant}.jsonl", lines)
    io.write_text(folder / "recipe.yaml", "name: household\nbase: none\narena: {pairing: active, goal: 40}\n")
    return folder


def judge_run(folder: Path) -> Path:
    """Add scores of every answer, and a judge who prefers the longer one but for a weakness for the first."""
    completions = {
        name: list(io.read(folder / "completions" / f"{name}.jsonl", Completion)) for name in CONTESTANTS
    }
    for name, rows in completions.items():
        io.write(folder / "measurements" / f"{name}.jsonl", measure(rows))
    battles = build_battles(completions, Judge())
    verdicts = [
        Verdict(
            battle_id=battle.id,
            judge="wordy",
            order=order,
            outcome=order[0] if number % 4 == 0 else _longer(battle),
            probability_a=0.72 if _longer(battle) == "a" else 0.31,
            reason="It says more.",
        )
        for number, battle in enumerate(battles)
        for order in ("ab", "ba")
    ]
    io.write(folder / "verdicts.jsonl", verdicts)
    io.write(folder / "votes.jsonl", aggregate_votes(battles, verdicts))
    return folder


def _longer(battle: Battle) -> Outcome:
    return "a" if len(battle.completion_a) >= len(battle.completion_b) else "b"


if __name__ == "__main__":
    write_run(Path(sys.argv[1]))
