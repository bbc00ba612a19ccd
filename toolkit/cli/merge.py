"""`adapter-arena merge`: a trained chain as one whole model."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, print_table, print_text, show_progress


@click.command("merge")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("stage")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write; a new one.")
@click.option(
    "--into",
    type=click.Choice(["dequantized", "original"]),
    default="dequantized",
    show_default=True,
    help="After training in 4 or 8 bit: the weights to merge into.",
)
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    default="bfloat16",
    show_default=True,
    help="Number type of the written weights.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: Path, stage: str, out: Path, into: str, dtype: str, *, as_json: bool) -> None:
    """Merge STAGE of RUN, and every stage below it, into the base: a folder that transformers loads.

    Says how far the merged model is from the trained one on held-out text, and writes that into its card.

    \b
    Example:
      adapter-arena merge results/demo dpo --out demo-merged
    """
    show_progress()
    from toolkit.run.folder import locked_run
    from toolkit.run.summary import merge_stage

    with locked_run(out):
        drifts = merge_stage(run, stage, out, into=into, dtype=dtype)  # type: ignore[arg-type]
    if as_json:
        print_json({"folder": str(out), "drift": drifts})
        return
    print_table(
        ["merged into", "KL", "same top token", "perplexity, trained", "merged"],
        [
            [
                drift.into,
                f"{drift.kl:.6f}",
                f"{drift.top1_agreement:.1%}",
                f"{drift.perplexity_trained:.3f}",
                f"{drift.perplexity_merged:.3f}",
            ]
            for drift in drifts
        ],
    )
    print_text(out)
