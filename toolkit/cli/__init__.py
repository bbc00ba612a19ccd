"""The `adapter-arena` command.

Commands live in modules by group, one function each, which reads its arguments, calls one function of the
library, prints and exits. Results go to stdout, progress to stderr.
"""

import difflib
import errno
import importlib
from pathlib import Path

import click

from toolkit import __version__
from toolkit.errors import ToolkitError
from toolkit.printable import printable

COMMANDS = {
    "init": "Write a recipe from your data, adapters or files of answers, and check it.",
    "run": "Do everything in a recipe: train, answer, score, judge, rate, report.",
    "check": "Find what is wrong with a recipe and its data before training.",
    "train": "Train a recipe's stages, and nothing else.",
    "merge": "Merge a trained stage and all below it into one model.",
    "export-model": "Export a trained stage to llama.cpp, Ollama or vLLM, and score it again.",
    "export": "Write a run's completions, scores and votes as data sets.",
    "push": "Send an adapter or a merged model, with its scores, to the hub.",
    "runs": "List runs and their versions, or remove one.",
    "report": "Write a run's report again.",
    "answer": "Generate completions for every example of a file; resumable.",
    "perplexity": "Perplexity of a model on texts, or on reference answers.",
    "metrics": "Score completions against references: ROUGE, BLEU, chrF, BERTScore ...",
    "score": "Score contestants' completions and compare them on the same examples.",
    "bench": "Run an lm-eval task on a model, from the hub or from local files.",
    "gate": "Test requirements on a run; the exit code is the result.",
    "leaderboard": "All contestants on all benchmarks in one table.",
    "judge": "Judge pairs of answers with a model, of a run or in files.",
    "ratings": "Rate contestants from a file of votes.",
    "agreement": "Agreement of two sets of votes, such as a judge's and people's.",
    "selftest": "A/A check: how often a claim appears when names are swapped at random.",
    "votes": "Export, import or delete the votes of an arena.",
    "preferences": "Turn votes into chosen/rejected pairs to train on.",
    "serve": "Open the blind arena in the browser.",
    "doctor": "Show hardware, packages and models: what is used, and what is missing.",
}
"""Command -> its one-line help, kept here so that `--help` imports no command."""

MODULES = {
    "recipes": ("init", "run", "check", "train", "doctor"),
    "runs": ("merge", "export-model", "export", "push", "runs", "report", "gate", "selftest"),
    "inference": ("answer", "perplexity", "bench"),
    "scores": ("metrics", "score", "leaderboard"),
    "judge": ("judge",),
    "ratings": ("ratings", "agreement"),
    "votes": ("votes", "preferences"),
    "serve": ("serve",),
}
"""Module of `toolkit.cli` -> its commands; the click command of `run` is `run_command`."""

CONTINUES = {"run", "train", "answer", "judge"}
"""Commands that keep what is finished, and go on from there when they are given again."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors of the system that are nobody's fault in here: a full disk, a folder that may not be written."""

BAD_PATH = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENOENT}
"""Errors of the system that come of a path that was named."""


class Commands(click.Group):
    """Imports a command when it is used, and turns a `ToolkitError` into its lines and exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, names in MODULES.items():
            if cmd_name in names:
                commands = importlib.import_module(f"toolkit.cli.{module}")
                return getattr(commands, f"{cmd_name.replace('-', '_')}_command")  # type: ignore[no-any-return]
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; for a mistyped command the message names the nearest known one."""
        close = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and close:
            ctx.fail(f"No such command '{args[0]}'; did you mean '{close[0]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            if not {"-h", "--help"} & set(ctx.args):
                _warn_of_changes(ctx.args)
            return super().invoke(ctx)
        except ToolkitError as error:
            click.echo(printable(f"error: {error}"), err=True)
            ctx.exit(error.exit_code)
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            if package in ("toolkit", "apps", "None"):
                raise
            text = f"error: {ctx.invoked_subcommand} needs {package}, which is not installed; pip install "
            click.echo(f'{text}"{package}" (all that is required: pip install adapter-arena)', err=True)
            ctx.exit(2)
        except OSError as error:
            place = f"{str(error.filename)[:200]}: " if error.filename else ""
            if error.errno in BAD_PATH and error.filename:
                hint, code = "; name another path", 2
            elif error.errno in NO_ROOM:
                hint, code = "; what was finished is kept, and the same command continues", 1
                hint = hint if ctx.invoked_subcommand in CONTINUES else ""
            else:
                raise
            click.echo(printable(f"error: {place}{error.strerror}{hint}"), err=True)
            ctx.exit(code)
        except KeyboardInterrupt:
            resumable = ctx.invoked_subcommand in CONTINUES
            hint = "; the same command continues where it stopped" if resumable else ""
            click.echo(f"interrupted{hint}", err=True)
            ctx.exit(130)


def _warn_of_changes(arguments: list[str]) -> None:
    """Name what is no longer in the run folders among the arguments as the run wrote it."""
    for run in map(Path, arguments):
        if run.joinpath("manifest.json").is_file() or run.joinpath("recipe.yaml").is_file():
            from toolkit.fingerprints import MANIFEST_DAMAGED, changed_outputs

            for change in changed_outputs(run):
                mend = "`adapter-arena run` with its recipe makes it again"
                mend = "put its backup back" if change == MANIFEST_DAMAGED else mend
                click.echo(printable(f"warning: {run}: {change}; {mend}"), err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="adapter-arena")
def main() -> None:
    """Fine-tune a language model, then measure whether it improved."""
