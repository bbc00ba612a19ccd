"""Commands on a finished run: report, gate, selftest, export, merge, export-model; and push."""

from pathlib import Path
from typing import Any

import click

from toolkit.cli.options import PATH, choice, results_folder
from toolkit.cli.output import print_json, print_result, print_text, show_progress, table

GATE_CODES = {"passed": 0, "undecided": 3, "failed": 4}
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("report")
@click.argument("run", type=PATH)
@click.argument("against", type=PATH, nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report_command(run: Path, against: tuple[Path, ...], as_json: bool) -> None:
    """Write report.html and report.md of RUN, a folder that `adapter-arena run` wrote.

    With AGAINST, other such folders, write RUN/against-AGAINST.html and .md of each instead: the contestants
    both have, compared in pairs on the examples both have, and what was changed between the two runs.

    \b
    Example:
      adapter-arena report results/demo
      adapter-arena report results/second results/demo
    """
    from toolkit.report import write_comparison, write_report
    from toolkit.run.cache import StepCache
    from toolkit.run.folder import locked_run

    with locked_run(run) as folder:
        pages = [write_comparison(run, other) for other in against] or [write_report(run)]
        if folder and not against:
            StepCache(folder).accept(pages[0], pages[0].with_suffix(".md"))
    first = {"html": str(pages[0]), "markdown": str(pages[0].with_suffix(".md"))}
    print_result(first, "\n".join(map(str, pages)), as_json=as_json)


class Runs(click.Group):
    """A folder as the first argument is that of `--out`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and Path(args[0]).is_dir():
            args = ["--out", *args]
        return super().parse_args(ctx, args)


@click.group("runs", cls=Runs, invoke_without_command=True)
@results_folder
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def runs_command(context: click.Context, out: Path, as_json: bool) -> None:
    """List all runs and their versions: what each changed, its primary figure, its size.

    \b
    Examples:
      adapter-arena runs
      adapter-arena runs rm results/demo-2
    """
    if context.invoked_subcommand:
        return
    from toolkit.report.formatting import number, size, span
    from toolkit.run.listing import list_runs

    found = list_runs(out)
    rows = []
    for each in found:
        changed = [f"{key}: {old} -> {new}" for key, (old, new) in each.changed.items()]
        figure = "not finished"
        if score := each.score:
            between = span(score.low, score.high)
            figure = f"{score.contestant} {score.metric} {number(score.value)}"
            figure += f" ({between})" if between else ""
        rows.append([each.run, figure, size(each.bytes), "; ".join(changed)])
    text = table(["run", "primary figure", "size", "changed"], rows)
    print_result({"runs": found}, text, as_json=as_json)


@runs_command.command("rm")
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option("--with-votes", is_flag=True, help="Also where people voted in the run's arena.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def remove(runs: tuple[Path, ...], with_votes: bool, as_json: bool) -> None:
    """Delete the folders of RUNS; stored answers and verdicts that other runs share stay.

    \b
    Example:
      adapter-arena runs rm results/demo-2
    """
    from toolkit.report.formatting import size
    from toolkit.run.listing import remove_run

    freed = {str(run): remove_run(run, votes=with_votes) for run in runs}
    text = "\n".join(f"{run}: removed, {size(count)}" for run, count in freed.items())
    print_result({"removed": freed}, text, as_json=as_json)


@click.command("gate")
@click.argument("run", type=PATH)
@click.option(
    "--require",
    "requirements",
    multiple=True,
    required=True,
    help="`METRIC: better than NAME [by X]` or `METRIC: not worse than NAME by X`; METRIC may be `primary` "
    "or `guard`. Repeat it: all must pass.",
)
@click.option("--contestant", metavar="NAME", help="Contestant that must pass; left out, the last stage's.")
@click.option("--markdown", type=FILE, help="Write a comment for a pull request to this file.")
@click.option("--junit", type=FILE, help="Write JUnit XML to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def gate_command(
    context: click.Context, /, run: Path, requirements: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Test requirements on a contestant of RUN by 95% intervals of paired differences.

    Exit code 0: all passed; 3: none failed, and some are undecided; 4: some failed.

    \b
    Example:
      adapter-arena gate results/demo --require 'rougeL: better than base-fewshot'
    """
    from toolkit import io
    from toolkit.report import gate

    parsed = [gate.parse_requirement(text) for text in requirements]
    result = gate.run_gate(run, parsed, options["contestant"])
    for option, render in (("markdown", gate.to_markdown), ("junit", gate.to_junit)):
        if options[option]:
            io.write_text(options[option], render(result))
    rows = [[check.verdict, check.requirement, gate.describe(check)] for check in result.checks]
    text = table(["", "requirement", "difference, more is better"], rows)
    print_result(result, f"{text}\n\n{result.contestant}: {result.verdict}", as_json=as_json)
    context.exit(GATE_CODES[result.verdict])


@click.command("selftest")
@click.argument("run", type=PATH)
@click.option("--times", type=click.IntRange(20), default=1000, help="Relabelled runs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def selftest_command(run: Path, times: int, as_json: bool) -> None:
    """A/A check: swap the contestants' names at random within each example of RUN, on answers and votes.

    No contestant is better then. Prints the share of relabelled runs in which the report would make a claim,
    by kind of claim: about 5% or less if intervals and p-values hold on data like these.

    \b
    Example:
      adapter-arena selftest results/demo
    """
    from toolkit.report.selftest import run_selftest

    found = run_selftest(run, times)
    rows = [[row.kind, f"{row.share:.1%}", f"{row.low:.1%} to {row.high:.1%}"] for row in found]
    text = table(["kind of claim", "relabelled runs with any", "95% interval"], rows)
    print_result({"times": times, "claims": found}, text, as_json=as_json)


@click.command("export")
@click.argument("run", type=PATH)
@click.argument("out", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export_command(run: Path, out: Path, *, as_json: bool) -> None:
    """Write the completions, scores and votes of RUN to the new folder OUT, as `datasets` loads them.

    \b
    Example:
      adapter-arena export results/demo demo-data
    """
    show_progress()
    from toolkit.report.export import write_datasets
    from toolkit.run.folder import locked_run

    with locked_run(out):
        sizes = write_datasets(run, out)
    text = f"{', '.join(f'{count} {name}' for name, count in sizes.items())} written to {out}"
    print_result({"folder": str(out), "rows": sizes}, text, as_json=as_json)


@click.command("merge")
@click.argument("run", type=PATH)
@click.argument("stage")
@click.option("--out", type=PATH, required=True, help="Folder to write; a new one.")
@choice("--into", "dequantized", "original", help="After training in 4 or 8 bit: the weights to merge into.")
@choice("--dtype", "bfloat16", "float16", "float32", help="Number type of the written weights.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def merge_command(run: Path, stage: str, out: Path, as_json: bool, **options: Any) -> None:
    """Merge STAGE of RUN, and every stage below it, into the base: a folder that transformers loads.

    Prints how far the merged model is from the trained one on held-out text, and writes it into its card.

    \b
    Example:
      adapter-arena merge results/demo dpo --out demo-merged
    """
    show_progress()
    from toolkit.run.folder import locked_run
    from toolkit.run.summary import merge_stage

    with locked_run(out):
        drifts = merge_stage(run, stage, out, **options)
    rows = []
    for drift in drifts:
        perplexities = [f"{drift.perplexity_trained:.3f}", f"{drift.perplexity_merged:.3f}"]
        rows.append([drift.into, f"{drift.kl:.6f}", f"{drift.top1_agreement:.1%}", *perplexities])
    text = table(["merged into", "KL", "same top token", "perplexity, trained", "merged"], rows)
    print_result({"folder": str(out), "drift": drifts}, f"{text}\n{out}", as_json=as_json)


@click.command("export-model")
@click.argument("run", type=PATH)
@click.argument("stage")
@click.option(
    "--to",
    type=click.Choice(["merged", "gguf", "vllm"]),
    required=True,
    help="A model folder; GGUF files (f16, q8_0) with an Ollama Modelfile; a script that serves by vLLM.",
)
@click.option("--out", type=PATH, required=True, help="Folder to write; a new one.")
@click.option("--converter", metavar="COMMAND", help="convert_hf_to_gguf.py; left out, on the PATH.")
@click.option("--server", metavar="COMMAND", help="llama-server; left out, on the PATH, else `xllamacpp`'s.")
@click.option("--no-score", is_flag=True, help="Do not answer the run's examples from the GGUF files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export_model_command(run: Path, stage: str, out: Path, as_json: bool, **options: Any) -> None:
    """Export STAGE of RUN to other programs, and compare the export with the trained model.

    GGUF files answer the run's examples by llama.cpp itself; scores and paired differences from the trained
    model are printed, and written into the folder's README.

    \b
    Examples:
      adapter-arena export-model results/demo dpo --to gguf --out demo-gguf
      adapter-arena export-model results/demo dpo --to vllm --out demo-vllm
    """
    show_progress()
    from toolkit.cli.scores import print_differences
    from toolkit.run.export_model import LlamaCpp, export_model
    from toolkit.run.folder import locked_run

    llama = LlamaCpp(options["converter"], options["server"], score=not options["no_score"])
    with locked_run(out):
        exported = export_model(run, stage, options["to"], out, llama)
    compared = exported.comparison
    if as_json:
        figures = ("scores", "differences")
        found = {name: getattr(compared, name) if compared else [] for name in figures}
        print_json(exported.model_dump(exclude={"comparison"}) | found)
        return
    print_text("\n".join(str(out / file) for file in exported.files))
    if compared:
        print_differences(compared)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in exported.identical.items())
        print_text(f"\nequal answers: {shares}")
    print_text(f"serve it: {exported.command}")


@click.command("push")
@click.argument("folder", type=PATH)
@click.argument("repo")
@click.option("--public", is_flag=True, help="Make a new repository public; left out, it is private.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def push_command(folder: Path, repo: str, *, public: bool, as_json: bool) -> None:
    """Upload FOLDER, an adapter or a merged model with its card and scores, to REPO (owner/name) on the hub.

    \b
    Example:
      adapter-arena push results/demo/adapters/dpo ann/tickets-dpo
    """
    from toolkit.models.bases import push

    address = push(folder, repo, private=not public)
    print_result({"repository": address}, address, as_json=as_json)
