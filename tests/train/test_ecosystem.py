"""Other tools load what is published, in a process where this package cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.test_methods import recipe_of, stage, train
from toolkit.recipe import Recipe
from toolkit.train.merge import merge

ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("toolkit", "apps"):
            raise ImportError(f"{name} must not be needed")
sys.meta_path.insert(0, Refuse())
"""

LOGITS = """
import json, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import PeftModel
base, run, merged = sys.argv[1:]
tokens = torch.arange(3, 60)[None]
def logits(model):
    with torch.inference_mode():
        return model.eval()(tokens).logits
bare, found = logits(AutoModelForCausalLM.from_pretrained(base)), {}
for folder in sorted(Path(run, "adapters").iterdir()):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder))
    assert AutoTokenizer.from_pretrained(folder).chat_template
    found[folder.name] = logits(model)
whole = logits(AutoModelForCausalLM.from_pretrained(merged))
print(json.dumps({
    "moved": {name: (logits - bare).abs().max().item() for name, logits in found.items()},
    "merged": (whole - found["dpo"]).abs().max().item(),
}))
"""

TASK = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "A {{thing}} is"
doc_to_choice: [" red", " blue"]
doc_to_target: answer
metric_list: [{metric: acc}]
"""


def alone(script: str, *arguments: object, where: Path) -> str:
    """What a script prints where only other people's packages are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(where / "hub")}
    command = [sys.executable, "-W", "ignore", "-c", ALONE + script, *map(str, arguments)]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def chain(tmp_path: Path, tiny_model: Path) -> Recipe:
    stages = [stage("sft", "sft", "answers"), stage("dpo", "dpo", "pairs", start="sft")]
    return recipe_of(tmp_path, tiny_model, stages)


@pytest.mark.slow
def test_peft_transformers_and_lm_eval_take_what_is_published(
    chain: Recipe, tmp_path: Path, tiny_model: Path
):
    train(chain, tmp_path)
    merge(chain, chain.stage("dpo"), tmp_path, tmp_path / "merged", dtype="float32")
    rows = [
        {"thing": thing, "answer": number % 2} for number, thing in enumerate(["rose", "sky", "coal", "sea"])
    ]
    (tmp_path / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    task = TASK.replace("FILE", str(tmp_path / "rows.json"))
    (tmp_path / "tasks" / "colours.yaml").write_text(task)
    command = ["lm_eval", "--model", "hf", "--model_args", f"pretrained={tmp_path / 'merged'},dtype=float32"]
    command += ["--tasks", "colours", "--include_path", str(tmp_path / "tasks"), "--device", "cpu"]
    command += ["--output_path", str(tmp_path / "out")]
    script = f"{LOGITS}\nsys.argv = {command!r}\nfrom lm_eval.__main__ import cli_evaluate\ncli_evaluate()"
    message = alone(script, tiny_model, tmp_path, tmp_path / "merged", where=tmp_path)
    found = next(json.loads(line) for line in message.splitlines() if line.startswith('{"moved"'))
    assert set(found["moved"]) == {"sft", "dpo"}
    assert all(moved > 1e-3 for moved in found["moved"].values())
    assert found["merged"] < 1e-3
    assert "colours" in message
    (result,) = (tmp_path / "out").rglob("results_*.json")
    assert 0 <= json.loads(result.read_text())["results"]["colours"]["acc,none"] <= 1
