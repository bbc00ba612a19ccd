"""Training a stage in several processes: `accelerate launch` of this module, one process for each GPU (DDP).

python -m toolkit.run.launch RUN STAGE        # what accelerate starts, once for each process
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path

from toolkit import distributed, errors, io
from toolkit.errors import RecipeError, ToolkitError, TrainingError
from toolkit.models import hardware
from toolkit.recipe import Recipe, Stage, load
from toolkit.run.folder import RunFolder

STOP_TIMEOUT = 60.0  # seconds that processes have to end after an interrupt


def train_in_processes(recipe: Recipe, stage: Stage, folder: RunFolder) -> None:
    """Train a stage in `recipe.processes` processes, each with a copy of the model and a share of the rows.

    Raises:
        RecipeError: there are fewer GPUs than processes.
        ToolkitError: as of `train_stage`.
    """
    device = hardware.choose(recipe.model).device
    if device.type == "cuda":
        import torch

        if torch.cuda.device_count() < recipe.processes:
            gpus = torch.cuda.device_count()
            count = recipe.processes
            raise RecipeError(f"processes: {count} need as many GPUs, and {gpus} are here; set it to {gpus}")
    with tempfile.TemporaryDirectory() as work:
        error, settings = Path(work) / "error.json", Path(work) / "accelerate.yaml"
        # MULTI_GPU is DDP on any device; MULTI_CPU would start one process, or ask for MPI
        io.write_json(settings, {
            "compute_environment": "LOCAL_MACHINE",
            "distributed_type": "MULTI_GPU",
            "num_machines": 1,
            "num_processes": recipe.processes,
            "mixed_precision": "no",
        })  # fmt: skip
        threads = max(1, (os.cpu_count() or 1) // recipe.processes)
        command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(settings)]
        command += ["--main_process_port", "0", "--num_cpu_threads_per_process", str(threads)]
        command += ["-m", "toolkit.run.launch", str(folder.path), stage.name, str(error)]
        environment = {"ACCELERATE_USE_CPU": "1"} if device.type == "cpu" else {}
        process = subprocess.Popen(command, env=os.environ | environment, stdout=sys.stderr)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait(STOP_TIMEOUT)
            raise
        if error.exists():
            found = io.read_json(error)
            raise getattr(errors, found["kind"])(found["message"])
        if code:
            raise TrainingError(f"stage {stage.name}: a process of {recipe.processes} ended with code {code}")


def configure_worker_logging() -> None:
    """Let the package's log through to where the run was started, and no library's chatter."""
    os.environ |= {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    log = logging.getLogger("toolkit")
    log.handlers, log.propagate = [logging.StreamHandler(sys.stderr)], False
    log.setLevel(logging.INFO if distributed.is_main() else logging.ERROR)


def main(run: Path, stage: str, error: Path) -> int:
    """In each process: train the stage of the run in `run`; its error, if there is one, goes into a file."""
    configure_worker_logging()
    from toolkit.train import train_stage

    folder = RunFolder(run)
    recipe = load(folder.recipe)
    try:
        with redirect_stdout(sys.stderr):
            train_stage(recipe, recipe.stage(stage), run)
    except ToolkitError as problem:
        if not error.exists():
            error.write_text(json.dumps({"kind": type(problem).__name__, "message": str(problem)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
