"""A user's own questions, put to the contestants of a finished run."""

from __future__ import annotations

from pathlib import Path

from toolkit import records
from toolkit.data import load_examples
from toolkit.errors import DataError
from toolkit.generate import generate_completions
from toolkit.recipe import DataSource, Generation, load
from toolkit.run.execution import Execution
from toolkit.run.folder import RunFolder
from toolkit.types import Completion, Example, Message, digest


def answer_questions(run: Path, questions: Path, out: Path) -> dict[str, list[Completion]]:
    """Every contestant's answers to the questions; those already in `out` are kept.

    Args:
        run: the run's folder.
        questions: a text file with a prompt a line, or rows of prompts as a recipe's data may have them.
        out: folder for `<contestant>.jsonl`.

    Raises:
        DataError: the questions do not parse, or `out` answers others.
        ModelError: a contestant's model is gone.
    """
    folder = RunFolder(run)
    recipe = load(folder.recipe)
    execution = Execution(recipe, folder)
    options = recipe.scoring.generation if recipe.scoring else Generation()
    examples = read_prompts(questions)
    answers = {}
    for player in execution.players:
        answers[player.name] = generate_completions(
            player.spec.endpoint or execution.ready(player),
            examples,
            contestant=player.name,
            adapter=player.name if player.adapter else None,
            prompt=player.spec.prompt,
            options=options,
            seed=recipe.seed,
            out=out / f"{player.name}.jsonl",
            store=folder.answers,
        )
    execution.release()
    return answers


def read_prompts(file: Path) -> list[Example]:
    """The prompts in a file: a line each of a text file, a row each of any other."""
    if file.suffix != ".txt":
        return load_examples(DataSource(source=str(file)))
    prompts = dict.fromkeys(line.strip() for _, line in records.read_lines(file, ours=False))
    if not prompts:
        raise DataError(f"{file}: no prompts; write one on each line")
    return [Example(id=digest(text), messages=(Message(role="user", content=text),)) for text in prompts]
