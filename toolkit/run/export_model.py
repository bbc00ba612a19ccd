"""Ship a trained stage: merged weights, GGUF files for llama.cpp and Ollama, or what vLLM needs to serve it.

A GGUF file answers the run's examples again, by llama.cpp itself, and is compared with the trained model on
the same examples: rounded weights are another model.
"""

import logging
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from toolkit import io
from toolkit.errors import DataError, ModelError
from toolkit.metric_info import metric_info
from toolkit.metrics.compare import Comparison, compare
from toolkit.models import bases
from toolkit.progress import log_progress
from toolkit.recipe import Contestant, load
from toolkit.report.formatting import number, span
from toolkit.run.folder import RunFolder
from toolkit.run.resolve import Execution, ResolvedContestant
from toolkit.run.summary import add_scores, merge_stage
from toolkit.types import Completion, Record

logger = logging.getLogger(__name__)

Format = Literal["merged", "gguf", "vllm"]
KINDS = ("f16", "q8_0")  # weight types of the GGUF files; the Modelfile takes the last


class Exported(Record):
    """What was written, and how far its answers are from the trained model's."""

    folder: str
    files: tuple[str, ...]
    command: str
    """Serves the model."""
    identical: dict[str, float] = Field(default_factory=dict)
    """GGUF file -> share of its answers that equal the trained model's."""
    comparison: Comparison | None = None
    """Scores, and each GGUF file minus the trained model on the same examples."""


@dataclass(frozen=True)
class LlamaCpp:
    """Commands of llama.cpp; `None`: found on this machine."""

    converter: str | None = None
    server: str | None = None
    score: bool = True  # whether GGUF files answer the run's examples


def export_model(run: Path, stage: str, to: Format, out: Path, llama: LlamaCpp = LlamaCpp()) -> Exported:
    """Write a trained stage in a format that other programs run, whole or not at all.

    Args:
        run: the run folder.
        stage: name of a stage.
        to: `merged` writes a model folder; `gguf` the same as GGUF files (f16 and q8_0) with an Ollama
            Modelfile; `vllm` a script that serves the adapter, with merged weights only where vLLM cannot.
        out: a new folder.
        llama: commands of llama.cpp.

    Raises:
        RecipeError: there is no such stage.
        DataError: `out` is there already, or the run has no answers to compare with.
        ModelError: the stage is not trained, a command is missing, or it failed.
    """
    if out.exists():
        raise DataError(f"{out}: is there already; name a new folder")
    folder = RunFolder(run)
    recipe = load(folder.recipe)
    if recipe.stage(stage).spec.reward_model:
        raise ModelError(f"stage {stage}: a reward model writes no text; use its folder as it is")
    if not folder.adapter(stage).exists():
        raise ModelError(f"{folder.adapter(stage)}: not trained yet; run the recipe first")
    export = _Export(Execution(recipe, folder), stage, out)
    if to == "gguf":
        return export.gguf(llama)
    return export.vllm() if to == "vllm" else export.merged()


@dataclass(frozen=True)
class _Export:
    execution: Execution
    stage: str
    out: Path

    @property
    def name(self) -> str:
        """Of the model, where it is served."""
        return f"{self.execution.recipe.name}-{self.stage}"

    def result(self, command: str, **comparison: Any) -> Exported:
        files = (str(file.relative_to(self.out)) for file in self.out.rglob("*") if file.is_file())
        return Exported(folder=str(self.out), files=tuple(sorted(files)), command=command, **comparison)

    def source(self) -> tuple[str, Path | None]:
        """What to load, and the adapter on it; no adapter where all weights were trained."""
        return self.execution.recipe.model_of(Contestant(stage=self.stage), self.execution.folder.path)

    def whole_model(self, folder: Path, dtype: str) -> Path:
        """A model folder: the published one where all weights were trained, else merged into `folder`."""
        model, adapter = self.source()
        if adapter is None:
            return Path(model)
        merge_stage(self.execution.folder.path, self.stage, folder, into="dequantized", dtype=dtype)
        return folder

    def merged(self) -> Exported:
        self.whole_model(self.out, "bfloat16")
        return self.result(shlex.join(["vllm", "serve", str(self.out)]))

    def vllm(self) -> Exported:
        """A script that serves the adapter on its base; merged weights beside it where vLLM cannot."""
        from toolkit.generate.engine import lora_flags, not_served

        model, adapter = self.source()
        options = self.execution.recipe.options_of(model)
        base = bases.resolve_base(model, revision=options.revision)
        with io.new_folder(self.out) as beside:
            if adapter is None or not_served(base, options, {self.name: adapter}):
                whole = self.whole_model(beside / "model", "bfloat16")
                words = ["vllm", "serve", str(self.out / "model" if adapter else whole.resolve())]
            else:
                words = ["vllm", "serve", str(base), *lora_flags({self.name: adapter.resolve()})]
            command = shlex.join([*words, "--generation-config", "vllm"])
            io.write_text(beside / "serve.sh", f"#!/bin/sh\nexec {command}\n")
        return self.result(command)

    def gguf(self, llama: LlamaCpp) -> Exported:
        """GGUF files with a Modelfile, compared with the trained model."""
        from toolkit.generate.llama_cpp import convert, converter_command, server_command

        converter = converter_command(llama.converter)
        server = server_command(llama.server) if llama.score else []
        trained = self.contestant() if llama.score else None
        with io.new_folder(self.out) as beside, tempfile.TemporaryDirectory(dir=self.out.parent) as work:
            model = self.whole_model(Path(work) / "model", "float32")
            files = {kind: beside / f"{self.name}-{kind}.gguf" for kind in KINDS}
            for done, (kind, file) in enumerate(files.items()):
                log_progress(logger, f"{self.name}: GGUF files", done, len(files), f"writing {kind}")
                convert(converter, model, file, kind)
            comparison = self.compare(trained, files, model, server) if trained else {}
            io.write_text(beside / "Modelfile", f"FROM ./{files[KINDS[-1]].name}\nPARAMETER temperature 0\n")
            self.write_card(beside / "README.md", trained, comparison)
        modelfile = self.out / "Modelfile"
        return self.result(shlex.join(["ollama", "create", self.name, "-f", str(modelfile)]), **comparison)

    def contestant(self) -> ResolvedContestant:
        """Whose answers those of the files are compared with: the stage, without a prompt if there is one."""
        execution = self.execution
        own = [each for each in execution.contestants if each.spec.stage == self.stage]
        found = min(own, key=lambda each: each.spec.has_prompt, default=None)
        if found and execution.recipe.scoring and execution.folder.completions(found.name).exists():
            return found
        missing = f"{execution.folder.path}: no answers of stage {self.stage} to compare with"
        raise DataError(f"{missing}; run the recipe first, or leave the comparison out with --no-score")

    def compare(
        self, trained: ResolvedContestant, files: dict[str, Path], model: Path, server: Sequence[str]
    ) -> dict[str, Any]:
        """Answer the run's examples from each file, and score them beside the trained model's answers."""
        from toolkit.generate.llama_cpp import LlamaServer

        execution, scoring = self.execution, self.execution.recipe.scoring
        assert scoring is not None
        expected, options = execution.load_completions(trained), scoring.generation
        context = _longest_prompt(model, execution, trained) + options.max_new_tokens + 1
        answers, log = {trained.name: expected}, execution.folder.path / "llama-server.log"
        for kind, file in files.items():
            name = f"{trained.name}-{kind}"
            with LlamaServer(server, file, context, log) as running:
                out = file.parent / "completions" / f"{name}.jsonl"
                source, examples = (name, running.source()), execution.examples
                answers[name] = execution.generate(trained, examples, options, out, served=source)
        log.unlink(missing_ok=True)
        found = [each for own in answers.values() for each in execution.measure(own)]
        del answers[trained.name]
        return {
            "identical": {name: _identical(own, expected) for name, own in answers.items()},
            "comparison": compare(found, against=trained.name, groups=execution.groups),
        }

    def write_card(self, card: Path, trained: ResolvedContestant | None, comparison: dict[str, Any]) -> None:
        """The trained model's card, with what the files differ in, and how to run them."""
        from toolkit.train.publish import Derived, derived_card

        recipe, folder = self.execution.recipe, self.execution.folder
        lines = ["Not compared with the trained model."]
        if trained:
            compared = comparison["comparison"]
            scores = {(each.contestant, each.metric): each.value for each in compared.scores}
            lines = [
                "Answers by llama.cpp, compared with those of the trained model on the same examples:",
                "",
                "| file | metric | value | difference from the trained model (95%) | n |",
                "| --- | --- | ---: | --- | ---: |",
            ]
            lines += [
                f"| {each.contestant} | {metric_info(each.metric).title} "
                f"| {number(scores[each.contestant, each.metric])} "
                f"| {number(each.value)} {span(each.low, each.high)} | {each.n} |"
                for each in compared.differences
            ]
            shares = [f"{name} {share:.0%}" for name, share in comparison["identical"].items()]
            lines += ["", f"Equal answers: {', '.join(shares)}."]
        file = f"{self.name}-{KINDS[-1]}.gguf"
        ollama = f"ollama create {self.name} -f Modelfile && ollama run {self.name}"
        usage = f"```sh\n{ollama}\nllama-server -m {file}\n```\n"
        derived = Derived("gguf", "gguf", "\n".join(lines), usage)
        stage = recipe.stage(self.stage)
        io.write_text(card, derived_card(folder.adapter(self.stage), recipe, stage, derived))
        add_scores(folder, recipe, self.stage, card)


def _longest_prompt(model: Path, execution: Execution, contestant: ResolvedContestant) -> int:
    """Tokens of the longest conversation that the contestant answers."""
    from toolkit.data.chat import prompt_ids, with_prompt
    from toolkit.models.loading import load_tokenizer

    tokenizer, prompt = load_tokenizer(model), execution.prompt(contestant)
    conversations = (with_prompt(prompt, each.messages) for each in execution.examples)
    return max(len(prompt_ids(tokenizer, each)) for each in conversations)


def _identical(answers: Sequence[Completion], expected: Sequence[Completion]) -> float:
    texts = {each.example_id: each.completion for each in expected}
    return sum(each.completion == texts.get(each.example_id) for each in answers) / len(answers)
