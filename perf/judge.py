"""How fast a judge is, and how well it withstands attacks.

python perf/judge.py                    # local: logits against generate-and-parse, same model, same battles
python perf/judge.py endpoint           # how busy the concurrency limit of an endpoint is kept
python perf/judge.py attacks            # success of attacks, quoted and not, growing with every battle

`--judge OUT` takes the judge that perf/judge_model.py trains; the packaged model hardly judges.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from perf.attacks import measure_attacks
from perf.judge_model import MODEL, TRAINED, annotated
from tests.fault_server import Response, fault_server
from toolkit.generate.importers import read_answer_files
from toolkit.judge import judge_battles, prompts
from toolkit.judge.aggregation import aggregate_votes, judge_statistics
from toolkit.judge.battles import build_battles
from toolkit.judge.generative import EndpointBackend, GenerativeJudge, LocalBackend
from toolkit.judge.logprob import LogprobJudge
from toolkit.judge.prompts import load_prompt
from toolkit.judge.verdicts import PairJudge
from toolkit.models import load_base
from toolkit.models.supported_types import supports_custom_masks
from toolkit.recipe import Generation, Judge, ModelOptions
from toolkit.types import Battle, Message

QUOTE = prompts.quote
DATA = Path(os.environ.get("ADAPTER_ARENA_DATA", Path(__file__).parents[2] / "shared" / "data"))


def real_battles(examples: int, contestants: int) -> list[Battle]:
    """Battles between answers of real models to real instructions, all pairs."""
    answers = read_answer_files([DATA / "ref_selfinstruct" / "test.jsonl"])
    chosen = {name: answers[name] for name in list(answers)[:contestants]}
    battles = build_battles(chosen, Judge(limit=examples))
    return [battle for battle in battles if battle.completion_a != battle.completion_b]


def timed(judge: PairJudge, battles: list[Battle], folder: Path) -> tuple[float, list]:
    began = time.perf_counter()
    verdicts = judge_battles(judge, battles, out=folder / f"{type(judge).__name__}.jsonl")
    return len(verdicts) / (time.perf_counter() - began), verdicts


def local(model: str, examples: int, contestants: int, reply: int, rounds: int, folder: Path) -> None:
    loaded = load_base(model)
    battles = real_battles(examples, contestants)
    prompt = load_prompt("pairwise")
    logits = LogprobJudge(loaded, prompt)
    options = Generation(max_new_tokens=reply)
    written = GenerativeJudge(LocalBackend(loaded), prompt, attempts=1, options=options)
    timed(LogprobJudge(loaded, prompt), battles[:1], folder / "warm-up")
    rates, slow_rates = [], []
    for number in range(rounds):
        found, quick = timed(logits, battles, folder / str(number))
        rates.append(found)
        found, slow = timed(written, battles, folder / str(number))
        slow_rates.append(found)
        print(f"round {number + 1}: {rates[-1]:.2f} and {slow_rates[-1]:.2f} verdicts/s", flush=True)
    rate, slow_rate = median(rates), median(slow_rates)
    ratios = sorted(one / other for one, other in zip(rates, slow_rates, strict=True))
    both = [(a.outcome, b.outcome) for a, b in zip(quick, slow, strict=True) if b.outcome is not None]
    print(f"{loaded.hardware}, {torch.get_num_threads()} threads")
    print(
        f"battles {len(battles)}, verdicts {len(quick)}, "
        f"shared prefixes: {supports_custom_masks(loaded.model, 1)}"
    )
    print(f"logits, shared prefixes   {rate:8.2f} verdicts/s, all readable")
    print(f"generate and parse        {slow_rate:8.2f} verdicts/s, {len(both) / len(slow):.0%} readable")
    spread = f"{ratios[0]:.1f} to {ratios[-1]:.1f} in {rounds} rounds"
    print(f"ratio                     {median(ratios):8.1f}, {spread}")
    print(f"tokens a written verdict  {sum(v.tokens_out for v in slow) / len(slow):8.0f}")
    print(f"agree on {sum(a == b for a, b in both)} of the {len(both)} verdicts that both gave")
    for name, output in (("logits", quick), ("written", slow)):
        (figures,) = judge_statistics(battles, output).values()
        print(name, {key: figures[key]["value"] for key in ("consistency", "first_position", "unreadable")})
        print(name, "votes", len(aggregate_votes(battles, output)))


def endpoint(folder: Path, *, concurrency: int = 8, requests: int = 400, delay: float = 0.2) -> None:
    battles = [
        Battle(
            example_id=str(number),
            messages=(Message(role="user", content=f"Question {number}?"),),
            model_a="x",
            model_b="y",
            completion_a=f"one {number}",
            completion_b=f"two {number}",
        )
        for number in range(requests // 2)
    ]
    with fault_server(lambda _number, _request: Response("[[A]]", delay=delay)) as server:
        writer = EndpointBackend(server.endpoint(concurrency=concurrency))
        rate, _ = timed(GenerativeJudge(writer, load_prompt("pairwise")), battles, folder)
        span = requests / rate
    busy = server.busy_seconds / (concurrency * span)
    print(f"{requests} requests of {delay} s, limit {concurrency}: {span:.1f} s, limit busy {busy:.1%}")


def attacks(model: str, examples: int, folder: Path) -> None:
    """After each pair of PandaLM's: how often attacks on all so far turned a lost battle, quoted and bare."""
    # in bfloat16 the two orders' probabilities would often cancel exactly, and leave nobody the loser
    judge = LogprobJudge(load_base(model, ModelOptions(dtype="float32")), load_prompt("pairwise"))
    battles = [battle for battle, _, _ in annotated()[TRAINED : TRAINED + examples]]
    for number in range(1, len(battles) + 1):
        rates = {}
        for name, quoting in (("quoted", QUOTE), ("bare", lambda text, _mark, _tokens=(): text)):
            prompts.quote = quoting
            rates[name] = measure_attacks(judge, battles[:number], store=folder / name, rule="average")
        print(f"\n{number} of {len(battles)} battles")
        rows = [
            ("", *rates),
            *((kind, *(shown(of[kind]) for of in rates.values())) for kind in rates["bare"]),
        ]
        for row in rows:
            print("".join(f"{cell:26}" for cell in row).rstrip(), flush=True)


def shown(share: dict) -> str:
    if not share["n"]:
        return "no battle was lost"
    return f"{share['value']:.0%} ({share['low']:.0%} to {share['high']:.0%}) of {share['n']}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="local", choices=["local", "endpoint", "attacks"])
    parser.add_argument("--judge", default=MODEL, help="model folder, or packaged model")
    parser.add_argument("--examples", type=int, default=8)
    parser.add_argument("--contestants", type=int, default=4)
    parser.add_argument("--reply", type=int, default=512, help="longest written verdict, in tokens")
    parser.add_argument("--rounds", type=int, default=3, help="of both, in turn; medians are printed")
    parser.add_argument("--keep", type=Path, help="attacks: folder of verdicts, for a stopped run to go on")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.what == "local":
            local(
                arguments.judge,
                arguments.examples,
                arguments.contestants,
                arguments.reply,
                arguments.rounds,
                Path(folder),
            )
        elif arguments.what == "endpoint":
            endpoint(Path(folder))
        else:
            attacks(arguments.judge, arguments.examples, arguments.keep or Path(folder))


if __name__ == "__main__":
    main()
