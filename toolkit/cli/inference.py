"""Commands that load a model: answer, perplexity, bench."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from toolkit.cli import options as opts
from toolkit.cli.options import ENDPOINT_OPTIONS, MODEL_OPTIONS, PATH, add_options, open_model, require_finite
from toolkit.cli.output import print_json, print_result, print_table, show_progress
from toolkit.cli.scores import number, print_scores

SHARE = click.FloatRange(0, 1, min_open=True)


@click.command("answer")
@click.argument("model")
@click.argument("examples")
@click.option("--out", type=PATH, required=True, help="JSONL file of completions; continued if it is there.")
@click.option("--system", help="System message put before every question.")
@add_options(*ENDPOINT_OPTIONS)
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, help="Longest answer.")
@click.option(
    "--temperature", type=click.FloatRange(0), callback=require_finite, default=0.0, help="0: greedy."
)
@click.option("--top-p", type=SHARE, callback=require_finite, default=1.0, help="Nucleus that is sampled.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Text that ends an answer; may be repeated.")
@click.option("--batch-size", type=click.IntRange(1), help="Conversations at a time; left out, by memory.")
@click.option("--limit", type=click.IntRange(1), help="Use the first examples only.")
@click.option("--seed", default=0, help="Seed for sampling.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@add_options(*MODEL_OPTIONS)
def answer_command(model: str, examples: str, out: Path, as_json: bool, **options: Any) -> None:
    """Generate completions of MODEL (hub id, folder, GGUF file, packaged name) for EXAMPLES; resumable.

    \b
    Examples:
      adapter-arena answer smollm2-135m-instruct package:tickets/heldout.jsonl --out base.jsonl
      adapter-arena answer MODEL questions.jsonl --endpoint http://127.0.0.1:8000/v1 --out remote.jsonl
    """
    show_progress()
    endpoint = options.pop("endpoint")
    fields = opts.take_fields(options, remote=bool(endpoint))
    if endpoint:
        opts.refuse("--endpoint", "adapter", "device", "dtype", "quantization", "batch_size")
    from toolkit.data import load_examples
    from toolkit.generate import generate_completions
    from toolkit.generate.completions import check_replaceable
    from toolkit.recipe import DataSource, Generation
    from toolkit.run.folder import locked_run
    from toolkit.types import Message

    questions = load_examples(DataSource(source=examples, limit=options.pop("limit")))
    options["batch_size"] = options["batch_size"] or "auto"
    settings = Generation(**{key: options.pop(key) for key in Generation.model_fields if key in options})
    system = options.pop("system")
    prompt = (Message(role="system", content=system),) if system else ()
    common: dict[str, Any] = {"prompt": prompt, "options": settings, "seed": options.pop("seed"), "out": out}
    with locked_run(out):
        check_replaceable(out, questions)
        if endpoint:
            server, name = opts.build_endpoint(endpoint, model, fields), options["name"] or Path(model).name
            completions = generate_completions(server, questions, contestant=name, **common)
        else:
            chosen = open_model(model, **options)
            completions = generate_completions(chosen.loaded, questions, **chosen.contestant, **common)
    refused = [completion for completion in completions if completion.refused]
    figures = {
        "contestant": completions[0].contestant if completions else None,
        "completions": len(completions),
        "tokens": sum(completion.tokens for completion in completions),
        "cut_off": sum(completion.finish == "length" for completion in completions),
        "refused": len(refused),
        "file": str(out),
    }
    answered = len(completions) - len(refused)
    text = f"{answered} answers, {figures['tokens']} tokens, {figures['cut_off']} cut off at the limit: {out}"
    for one in refused[:1]:
        text += f"\n{len(refused)} refused by the server, such as {one.example_id}: {one.error}"
    print_result(figures, text, as_json=as_json)


@click.command("perplexity")
@click.argument("model")
@click.argument("data")
@click.option("--window", type=click.IntRange(1), help="Tokens seen at once; left out, the whole context.")
@click.option("--stride", type=click.IntRange(1), help="How far windows move on; left out, a whole window.")
@click.option("--limit", type=click.IntRange(1), help="Measure at most this many texts.")
@click.option("--each", is_flag=True, help="Also the figures of every text on its own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@add_options(*MODEL_OPTIONS)
def perplexity_command(  # noqa: PLR0913, PLR0917 - one argument per option
    model: str,
    data: str,
    window: int | None,
    stride: int | None,
    limit: int | None,
    each: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Perplexity and bits per byte of MODEL on DATA, with 95% intervals over texts.

    DATA is a .txt file (one text), rows with `text`, or rows with questions and reference answers: of those,
    the answers are measured, given the questions.

    \b
    Examples:
      adapter-arena perplexity smollm2-135m-instruct wikitext.txt --stride 512
      adapter-arena perplexity smollm2-135m-instruct heldout.jsonl --adapter results/demo/adapters/sft
    """
    show_progress()
    from toolkit.metrics import measure_perplexity, measure_text_perplexity, score
    from toolkit.metrics.perplexity import load_documents
    from toolkit.recipe import DataSource

    texts, examples = load_documents(DataSource(source=data, limit=limit))
    chosen = open_model(model, **options)
    found = measure_text_perplexity(
        chosen.loaded, texts, window=window, stride=stride, **chosen.contestant
    ) + measure_perplexity(chosen.loaded, examples, **chosen.contestant)
    scores = [score(measurement) for measurement in found]
    documents: list[dict[str, Any]] = []
    if each and found:
        values = {measurement.metric: measurement.per_example() for measurement in found}
        ids = found[0].example_ids
        documents = [{"id": name} | {metric: values[metric][name] for metric in values} for name in ids]
    if as_json:
        print_json({"scores": scores} | ({"documents": documents} if each else {}))
        return
    print_scores(scores)
    if documents:
        click.echo()
        rows = [[name, *map(number, figures)] for name, *figures in map(dict.values, documents)]
        print_table(list(documents[0]), rows)


@click.command("bench")
@click.argument("model")
@click.argument("task")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="SPLIT=FILE",
    help="Rows of a split, with the hub set's columns; left out, they come from the hub.",
)
@click.option("--num-fewshot", type=click.IntRange(0), help="Few-shot examples; default: the task's.")
@click.option("--limit", type=click.IntRange(1), help="Use the first questions only (of each subtask).")
@click.option("--chat-template", is_flag=True, help="Wrap the prompts in the model's chat template.")
@click.option(
    "--allow-code-execution",
    is_flag=True,
    help="Run the code the model writes, in a sandbox; before Linux 5.13 it can read your files.",
)
@click.option("--out", type=PATH, help="lm-eval result file, added to; left out: benchmarks/<name>.json.")
@click.option("--seed", default=0, help="Seed for few-shot examples and sampling.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@add_options(*MODEL_OPTIONS)
def bench_command(
    model: str, task: str, files: tuple[str, ...], out: Path | None, seed: int, as_json: bool, **options: Any
) -> None:
    """Run an lm-eval TASK (or group) on MODEL; results and every answer are kept in lm-eval's own format.

    \b
    Examples:
      adapter-arena bench smollm2-135m-instruct tickets_choice --file test=package:tickets/choice.jsonl
      adapter-arena bench MODEL gsm8k --file train=train.jsonl --file test=test.jsonl --limit 50
    """
    show_progress()
    from toolkit.benchmarks.results import add_results, check_addable
    from toolkit.benchmarks.runner import run_benchmarks
    from toolkit.benchmarks.task_files import task_name
    from toolkit.errors import DataError
    from toolkit.models.bases import content_fingerprint
    from toolkit.recipe import Benchmark
    from toolkit.run.cache import StepCache
    from toolkit.run.folder import locked_run

    splits = dict(opts.split_assignment(file, "--file", "SPLIT=FILE") for file in files)
    settings = {key: options.pop(key) for key in Benchmark.model_fields if key in options}
    benchmark = Benchmark(task=task, files=splits, **settings)
    chosen = open_model(model, **(opts.options_of_run(out, options) if out else options))
    adapter = options["adapter"]
    weights = chosen.loaded.fingerprint + (content_fingerprint(adapter) if adapter else "")
    out = out or Path("benchmarks") / f"{chosen.name}.json"
    with locked_run(out) as run:
        recorded = StepCache(run) if run and StepCache(run).intact(out, out.with_suffix("")) else None
        check_addable(out, chosen.name, weights, task_name(task), benchmark.limit)
        with TemporaryDirectory() as folder:
            new = Path(folder) / "new.json"
            scores = run_benchmarks(chosen.loaded, [benchmark], out=new, seed=seed, **chosen.contestant)
            replaced = add_results(out, new, weights, chosen.name)
        if recorded and not replaced:
            recorded.accept(out, out.with_suffix(""))
    if not scores:
        raise DataError(f"benchmark {task}: no figure came of it; does it ask anything?")
    if as_json:
        print_json({"scores": scores})
    else:
        print_scores(scores)
