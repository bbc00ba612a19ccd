"""`adapter-arena init`: a recipe of one's own, from three answers."""

from __future__ import annotations

import json
from pathlib import Path

import click

from toolkit.cli.output import print_json, print_text

METHODS = {"Conversation": "sft", "Preference": "dpo", "Rated": "kto", "Text": "text"}
"""Kind of row -> the method that learns from it."""

RECIPE = """\
# A recipe: what is trained, who is compared, and on what.
#   adapter-arena check {file}     finds what is wrong before anything is trained
#   adapter-arena run {file}       does the rest; run it again to continue
name: {name}
base: {base}    # hub id, folder, GGUF file or packaged name
seed: 0

data:
  train:
    source: {data}
    # filter: score >= 8            # rows to keep; columns and comparisons
    # limit: 1000                   # fewer rows for a first try
{heldout}
stages:
  - name: {method}
    method: {method}                # text, sft, dpo, orpo, kto, reward, rloo, grpo
    data: train
    adapter: {{r: 16}}                # LoRA; none trains all weights
    trainer: {{}}                     # fields of TRL's configuration: learning_rate, beta ...
{scoring}"""

HELDOUT = """\
  heldout:
    source: {heldout}
"""

SCORING = """
{contestants}scoring:
  examples: heldout                 # prompts with reference answers, none of them trained on
  # fewshot_baseline: false         # no `base-fewshot` beside the bare base
  # benchmarks: [{{task: gsm8k, limit: 100}}]

# judge: {{model: Qwen/Qwen2.5-7B-Instruct, reference: true}}   # a model that votes in pairs
"""


CONTESTANTS = """\
contestants:
  base: {{}}
  base-fewshot: {{shots: auto}}       # the fair baseline: 1, 3, 5 or 8 training rows as worked examples
  {method}: {{stage: {method}}}

"""

BASE = "Base model (hub id, folder, GGUF file or packaged name)"
DATA = "Training data (a file, or a hub data set)"
HELD = "Held-out examples to score on (a file; empty: none)"


@click.command("init")
@click.argument("file", type=click.Path(path_type=Path), default=Path("recipe.yaml"))
@click.option("--base", help=BASE)
@click.option("--data", help=DATA)
@click.option("--heldout", help=HELD)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the questions go to stderr.")
def command(file: Path, base: str | None, data: str | None, heldout: str | None, *, as_json: bool) -> None:
    """Write a commented recipe to FILE, from the answers to three questions.

    \b
    Example:
      adapter-arena init mine.yaml
      adapter-arena init mine.yaml --base Qwen/Qwen2.5-0.5B-Instruct --data a.jsonl --heldout b.jsonl
    """
    from toolkit import io
    from toolkit import recipe as recipes
    from toolkit.errors import DataError

    if file.exists():
        raise DataError(f"{file}: is there already; name another file")
    base = base or click.prompt(BASE, default="smollm2-135m-instruct", err=True)
    data = data or click.prompt(DATA, err=True)
    if heldout is None:
        heldout = click.prompt(HELD, default="", show_default=False, err=True)
    method = _method(file, data)
    text = RECIPE.format(
        file=file,
        name=file.stem,
        base=json.dumps(base),
        data=json.dumps(data),
        method=method,
        heldout=HELDOUT.format(heldout=json.dumps(heldout)) if heldout else "",
        scoring=SCORING.format(contestants=_contestants(method)) if heldout else "",
    )
    recipes.parse(recipes.read_yaml(text), file)
    io.write_text(file, text)
    if as_json:
        print_json({"file": str(file), "method": method})
    else:
        print_text(f"{file}: written. Next: adapter-arena check {file}")


def _contestants(method: str) -> str:
    """The base, bare and with worked examples, and the stage; left to `run` where no row has an answer."""
    return CONTESTANTS.format(method=method) if method != "text" else ""


def _method(file: Path, data: str) -> str:
    """What the rows of a local file are good for; hub sets are taken for conversations until read."""
    from toolkit.data import load_rows
    from toolkit.recipe import DATA_FILES, DataSource, existing

    beside = file.parent / data
    there = existing(str(beside))
    if beside.suffix not in DATA_FILES and not (there and there.is_file()):
        return "sft"
    row = load_rows(DataSource(source=str(beside), limit=1)).rows[0]
    return METHODS[type(row).__name__]
