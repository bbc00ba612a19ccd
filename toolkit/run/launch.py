"""Steps in other processes: a stage on several GPUs by `accelerate launch` (DDP), a whole run on Ray.

On Ray, steps go side by side where none waits for another, and again where a worker died. The process that
started the run keeps the cache and hands out steps by name; a worker finds the step in the folder of the
run and does it as a local run would. What a killed worker left is continued by the next.

python -m toolkit.run.launch RUN STAGE        # what accelerate starts, once for each process
"""

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

from toolkit import distributed, errors, io
from toolkit.errors import InputError, RecipeError, ToolkitError, TrainingError, first_line
from toolkit.models import hardware
from toolkit.recipe import ModelOptions, Recipe, Stage, load
from toolkit.run.cache import Step, StepCache
from toolkit.run.folder import RunFolder
from toolkit.run.plan import plan_steps
from toolkit.run.resolve import Execution

logger = logging.getLogger(__name__)

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


ATTEMPTS = 3  # how often a step is begun again after its worker was lost


def run_on_ray(execution: Execution, cache: StepCache) -> None:
    """Do every step of a run that is not done yet, on the cluster at `RAY_ADDRESS` or on one started here.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
        ToolkitError: a step failed, or its worker was lost too often; what is done stays done.
    """
    try:
        import ray
    except ImportError:
        raise InputError("--on ray needs Ray: run `pip install 'adapter-arena[ray]'`") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "")
    _check_reachable(address)
    try:
        ray.init(logging_level=logging.WARNING, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        place = address or "a cluster on this machine"
        raise InputError(f"Ray: {place} cannot be used: {first_line(error)}") from None
    try:
        _run_steps(ray, execution, cache)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse an address at which nothing listens, which Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        message = f"Ray: {address} cannot be used: {error.strerror or error}; see RAY_ADDRESS"
        raise InputError(message) from None


def _run_steps(ray: Any, execution: Execution, cache: StepCache) -> None:
    model, slots = worker_resources(ray.nodes(), execution.recipe.model)
    logger.info("on Ray: %d model%s at a time, each with %s", slots, "s" * (slots > 1), model)
    place = (str(execution.folder.path.resolve()), str(Path.cwd()), slots, execution.anyway)
    task = ray.remote(max_calls=1, max_retries=ATTEMPTS)(run_step)
    waiting, done, running = plan_steps(execution, judges=slots), set[str](), dict[Any, Step]()
    while waiting or running:
        for step in [step for step in waiting if done.issuperset(step.depends_on)]:
            waiting.remove(step)
            if cache.begin(step):
                resources = model if step.model else {"num_cpus": 1}
                running[task.options(name=step.name, **resources).remote(step.name, *place)] = step
            else:
                done.add(step.name)
        for result in ray.wait(list(running))[0] if running else ():
            step = running.pop(result)
            cache.finish(step, _result(ray, result, step))
            done.add(step.name)


def worker_resources(nodes: list[dict[str, Any]], options: ModelOptions) -> tuple[dict[str, float], int]:
    """Ray resources of a step with a model (a GPU, else a machine), and how many steps run at a time."""
    machines = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    gpus = int(sum(machine.get("GPU", 0) for machine in machines))
    if gpus and options.device != "cpu":
        return {"num_cpus": 1, "num_gpus": 1}, gpus
    cores = min(machine["CPU"] for machine in machines)
    return {"num_cpus": cores}, int(sum(machine["CPU"] // cores for machine in machines))


def run_step(name: str, folder: str, where: str, judges: int, anyway: bool) -> float:
    """In a worker: do the step of this name of the run in `folder`; gives the seconds it took."""
    started = time.monotonic()
    configure_worker_logging()
    with chdir(where), redirect_stdout(sys.stderr):  # the driver's stdout is for results
        run = RunFolder(Path(folder))
        execution = Execution(load(run.recipe), run)
        execution.anyway = anyway
        try:
            steps = plan_steps(execution, judges=judges)
            next(step for step in steps if step.name == name).work()
        finally:
            execution.release()
    return time.monotonic() - started


def _result(ray: Any, result: Any, step: Step) -> float:
    try:
        return float(ray.get(result))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ToolkitError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise ToolkitError(f"{step.name}: its worker was lost: {first_line(error)}") from None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
