"""Base and four adapters scored from one loaded base, against `lm_eval` run five times and a script.

python perf/contestants.py --data DIR                  # one comparison, appended to contestants.jsonl
python perf/contestants.py --data DIR --repeats 5      # five, then the table
python perf/contestants.py --table                     # the table of what contestants.jsonl holds

DIR holds bench_mmlu/{dev,test}.jsonl, bench_hellaswag/test.jsonl, bench_truthfulqa/mc.jsonl (fields as on the
hub), ppl_wikitext2/valid.txt and prompts_arenahard/v01.jsonl; left out: $ADAPTER_ARENA_DATA. Both sides have
the same tasks, number type, adapters, text and prompts. The other side is what one would do without this
package: `lm_eval run` for each contestant, and one script that loads each, measures the text by the
loop of transformers' documentation and generates with `pipeline`, one prompt at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from toolkit.benchmarks.task_files import write_local_tasks
from toolkit.models import resolve_base
from toolkit.recipe import Benchmark

MODEL = "smollm2-135m-instruct"
ADAPTERS = ("a1", "a2", "a3", "a4")
TASKS = {
    "mmlu_anatomy": {"dev": "bench_mmlu/dev.jsonl", "test": "bench_mmlu/test.jsonl"},
    "hellaswag": {"validation": "bench_hellaswag/test.jsonl"},
    "truthfulqa_mc2": {"validation": "bench_truthfulqa/mc.jsonl"},
}
SHOTS = {"mmlu_anatomy": 5}
QUESTIONS = {"mmlu_anatomy": 3, "hellaswag": 6, "truthfulqa_mc2": 2}
"""So few that five comparisons end in an hour on two cores; `--times` asks more."""


@dataclass(frozen=True)
class Size:
    """How much is asked of every contestant."""

    times: int
    """How often `QUESTIONS`."""
    prompts: int
    """To be answered; 20 of five contestants are 100 generations."""
    new_tokens: int
    characters: int
    """Of the text."""


@dataclass(frozen=True)
class Place:
    """Where the two sides find the same things."""

    folder: Path
    model: Path
    dtype: str
    size: Size

    @property
    def tasks(self) -> Path:
        return self.folder / "tasks"

    def adapter(self, name: str) -> Path:
        return self.folder / "adapters" / name

    @property
    def job(self) -> Path:
        """File that tells the two scripts what to do."""
        return self.folder / "job.json"


def prepare(place: Place, data: Path) -> None:
    """Task files, four adapters of small random weights, the text and the prompts."""
    tasks = [
        {"task": task, "files": first_rows(place, data, task), "num_fewshot": SHOTS.get(task)}
        for task in TASKS
    ]
    for task in tasks:
        write_local_tasks(Benchmark(**task), place.tasks)
    for task, shots in SHOTS.items():  # the command has one --num_fewshot for all tasks
        with (place.tasks / f"{task}.yaml").open("a") as file:
            file.write(f"num_fewshot: {shots}\n")
    make_adapters(place)
    rows = (data / "prompts_arenahard/v01.jsonl").read_text().strip().split("\n")
    requested = [json.loads(row)["prompt"] for row in rows]
    short = [text for text in requested if len(text) < 400][: place.size.prompts]
    text = (data / "ppl_wikitext2/valid.txt").read_text()[: place.size.characters]
    job = {"model": str(place.model), "dtype": place.dtype, "prompts": short, "text": text}
    job |= {"adapters": {name: str(place.adapter(name)) for name in ADAPTERS}}
    job |= {"new_tokens": place.size.new_tokens, "tasks": tasks}
    place.job.write_text(json.dumps(job))


def first_rows(place: Place, data: Path, task: str) -> dict[str, str]:
    """Split -> a file of the task's first rows, and of all few-shot examples."""
    files = {}
    for split, file in TASKS[task].items():
        lines = (data / file).read_text().strip().split("\n")
        own = [line for line in lines if json.loads(line).get("subject", "anatomy") == "anatomy"]
        wanted = own if split == "dev" else own[: place.size.times * QUESTIONS[task]]
        target = place.folder / f"{task}-{split}.jsonl"
        target.write_text("".join(line + "\n" for line in wanted))
        files[split] = str(target)
    return files


def make_adapters(place: Place) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for seed, name in enumerate(ADAPTERS):
        torch.manual_seed(seed)
        config = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(place.model, dtype=torch.float32), config)
        for key, weight in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=0.01)
        model.save_pretrained(place.adapter(name))


def ours(job: dict[str, Any], out: Path) -> None:
    """Everything, by this package, in one process."""
    from toolkit.benchmarks.runner import run_benchmarks
    from toolkit.data import Text
    from toolkit.generate import generate_completions
    from toolkit.metrics import measure_text_perplexity
    from toolkit.models import load_base
    from toolkit.recipe import Generation, ModelOptions
    from toolkit.types import Example, Message

    tasks = [Benchmark(**task) for task in job["tasks"]]
    examples = [
        Example(id=str(i), messages=(Message(role="user", content=text),))
        for i, text in enumerate(job["prompts"])
    ]
    options = Generation(max_new_tokens=job["new_tokens"])
    loaded = load_base(job["model"], ModelOptions(dtype=job["dtype"]))
    for name, folder in job["adapters"].items():
        loaded.attach(name, Path(folder))
    found: dict[str, Any] = {}
    for name in (None, *ADAPTERS):
        about = {"contestant": name or "base", "adapter": name}
        run_benchmarks(loaded, tasks, out=out / f"{name or 'base'}.json", **about)
        text = measure_text_perplexity(loaded, [Text(id="t", text=job["text"])], window=1024, **about)[0]
        file = Path(tempfile.mkdtemp(dir=out)) / "said.jsonl"  # no answers of an earlier repetition
        reply = generate_completions(loaded, examples, options=options, out=file, **about)
        found[name or "base"] = {"perplexity": text.value, "texts": [one.completion for one in reply]}
    (out / "found.json").write_text(json.dumps(found))


def plain(job: dict[str, Any], out: Path) -> None:
    """Perplexity and generation as the documentation of transformers and peft shows them."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    found: dict[str, Any] = {}
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    for name in ("base", *ADAPTERS):
        model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]))
        if name != "base":
            model = PeftModel.from_pretrained(model, job["adapters"][name])
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(job["text"])["input_ids"]]])
        total, seen = 0.0, 1
        while seen < ids.shape[1]:
            end = min(seen + 1024, ids.shape[1])
            window = ids[:, max(0, end - 1025) : end]
            labels = window.clone()
            labels[:, : seen - end] = -100
            with torch.no_grad():
                total += float(model(window, labels=labels).loss) * (end - seen)
            seen = end
        pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
        texts = []
        for prompt in job["prompts"]:
            requested = [{"role": "user", "content": prompt}]
            reply = pipe(requested, max_new_tokens=job["new_tokens"], do_sample=False, return_full_text=False)
            texts.append(reply[0]["generated_text"])
        found[name] = {"perplexity": float(torch.tensor(total / (seen - 1)).exp()), "texts": texts}
    (out / "found.json").write_text(json.dumps(found))


def command_line(place: Place, name: str, out: Path) -> list[str]:
    """`lm_eval` for one contestant."""
    peft = [] if name == "base" else [f"peft={place.adapter(name)}"]
    arguments = ",".join([f"pretrained={place.model}", f"dtype={place.dtype}", *peft])
    lm_eval = str(Path(sys.executable).with_name("lm_eval"))
    return [
        *(lm_eval, "run", "--model", "hf", "--model_args", arguments, "--device", "cpu"),
        *("--tasks", ",".join(TASKS), "--include_path", str(place.tasks)),
        *("--batch_size", "8", "--output_path", str(out / f"{name}.json")),
    ]


@dataclass(frozen=True)
class Spent:
    """Seconds, and bytes of resident memory at the peak."""

    seconds: float
    peak: int
    output: str


def watched(command: list[str]) -> Spent:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{errors.read()[-3000:]}")
        spent = Spent(seconds, usage.ru_maxrss * 1024, output.read())
    print(
        f"{seconds:.0f} s, {spent.peak / 1e9:.2f} GB: {' '.join(command)[:200]}", file=sys.stderr, flush=True
    )
    return spent


def printed(table: str) -> dict[str, str]:
    """`<task>/<metric>` -> value, as lm-eval's table prints them."""
    found, task = {}, ""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 8 and re.fullmatch(r"\d\.\d{4}", cells[7]):
            task = cells[1] or task
            found[f"{task}/{cells[5]}"] = cells[7]
    return found


def compare(place: Place) -> dict[str, Any]:
    """One run of both sides."""
    from lm_eval.utils import make_table

    names = ("base", *ADAPTERS)
    with tempfile.TemporaryDirectory() as folder:
        mine, theirs = Path(folder) / "ours", Path(folder) / "theirs"
        mine.mkdir()
        theirs.mkdir()
        script = [sys.executable, __file__, "--job", str(place.job)]
        all_ours = watched([*script, "--side", "ours", "--out", str(mine)])
        evals = {name: watched(command_line(place, name, theirs)) for name in names}
        rest = watched([*script, "--side", "plain", "--out", str(theirs)])
        tables = {
            name: printed(make_table(json.loads((mine / f"{name}.json").read_text()))) for name in names
        }
        found, other = (json.loads((side / "found.json").read_text()) for side in (mine, theirs))
    expected = {name: printed(evals[name].output) for name in names}
    spent = [*evals.values(), rest]
    texts = [
        (a, b) for name in names for a, b in zip(found[name]["texts"], other[name]["texts"], strict=True)
    ]
    return {
        "size": vars(place.size) | {"dtype": place.dtype},
        "seconds": all_ours.seconds,
        "lm_eval_seconds": sum(each.seconds for each in evals.values()),
        "script_seconds": rest.seconds,
        "peak": all_ours.peak,
        "other_peaks": sum(each.peak for each in spent),
        "largest_other_peak": max(each.peak for each in spent),
        "figures": sum(map(len, expected.values())),
        "figures_differ": [
            f"{name} {key}: {tables[name].get(key)} for {value}"
            for name in names
            for key, value in expected[name].items()
            if tables[name].get(key) != value
        ],
        "perplexity_differs": max(
            abs(found[name]["perplexity"] / other[name]["perplexity"] - 1) for name in names
        ),
        "generations": len(texts),
        "texts_differ": sum(a != b for a, b in texts),
    }


def show(file: Path) -> None:
    """Medians over the comparisons in a file, by size."""
    rows = [json.loads(line) for line in file.read_text().strip().split("\n")]
    for size in dict.fromkeys(json.dumps(row["size"]) for row in rows):
        some = [row for row in rows if json.dumps(row["size"]) == size]
        theirs = [row["lm_eval_seconds"] + row["script_seconds"] for row in some]
        walls = [row["seconds"] / other for row, other in zip(some, theirs, strict=True)]
        peaks = [row["peak"] / row["other_peaks"] for row in some]
        print(f"\n{len(some)} comparisons, {size}")
        print("| | ours | lm_eval x 5 | script | ratio (median, range) |")
        print("| --- | ---: | ---: | ---: | --- |")
        seconds = [
            median(row[key] for row in some) for key in ("seconds", "lm_eval_seconds", "script_seconds")
        ]
        print(f"| seconds | {' | '.join(f'{value:.0f}' for value in seconds)} | {spread(walls)} |")
        one, other = (median(row[key] for row in some) / 1e9 for key in ("peak", "other_peaks"))
        print(f"| peak memory, GB | {one:.2f} | {other:.2f}, the six summed | | {spread(peaks)} |")
        print(f"printed figures that differ: {[row['figures_differ'] for row in some]}", end=" ")
        print(f"of {some[0]['figures']}")
        print(f"perplexity differs by {max(row['perplexity_differs'] for row in some):.1e} at most;", end=" ")
        print(f"texts differ: {[row['texts_differ'] for row in some]} of {some[0]['generations']}")


def spread(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ADAPTER_ARENA_DATA"))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--times", type=int, default=1, help="as many questions")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--characters", type=int, default=8_000)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--results", type=Path, default=Path("contestants.jsonl"))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--side", choices=["ours", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        {"ours": ours, "plain": plain}[given.side](json.loads(given.job.read_text()), given.out)
        return
    if not given.table:
        if given.data is None:
            parser.error("name the folder of data: --data DIR")
        size = Size(given.times, given.prompts, given.new_tokens, given.characters)
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), resolve_base(MODEL), given.dtype, size)
            prepare(place, given.data)
            for _ in range(given.repeats):
                with given.results.open("a") as file:
                    file.write(json.dumps(compare(place)) + "\n")
    show(given.results)


if __name__ == "__main__":
    main()
