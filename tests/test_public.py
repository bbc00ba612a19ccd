"""The public interface: what `__all__` names is there, typed, and costs nothing before it is used."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import toolkit

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "datasets", "pandas", "numpy", "pydantic", "yaml")


@pytest.mark.parametrize("name", toolkit.__all__)
def test_every_public_name_is_there_and_documented(name: str):
    value = getattr(toolkit, name)
    assert isinstance(value, str) or value.__doc__


@pytest.mark.slow
def test_public_names_survive_the_import_of_every_module():
    """A submodule that is imported becomes an attribute of its package, and must not hide a public name."""
    code = (
        "import importlib, pkgutil, toolkit\n"
        "skipped = ('toolkit.run.cluster', 'toolkit.benchmarks.tasks', 'toolkit.cli.__main__')\n"
        "for module in pkgutil.walk_packages(toolkit.__path__, 'toolkit.'):\n"
        "    if not module.name.startswith(skipped):\n"
        "        importlib.import_module(module.name)\n"
        "values = {name: getattr(toolkit, name) for name in toolkit.__all__ if not name.startswith('__')}\n"
        "print([name for name, value in values.items() if not callable(value)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_results_are_frames_and_charts():
    completion = {
        "messages": [{"role": "user", "content": "2 + 2?"}],
        "reference": "4",
        "finish": "stop",
        "tokens": 1,
    }
    answers = [
        toolkit.Completion(example_id=str(n), contestant=name, completion=text, **completion)
        for n in range(8)
        for name, text in (("base", "5"), ("sft", "4" if n else "5"))
    ]
    result = toolkit.score_completions(answers, ["exact_match"], against="base")
    assert list(result.to_frame()["contestant"].unique()) == ["base", "sft"]
    assert result.differences_frame()["value"].iloc[0] == pytest.approx(7 / 8)
    assert ET.fromstring(result._repr_svg_()).tag.endswith("svg")
    vote = {"battle_id": "1", "example_id": "1", "model_a": "a", "model_b": "b", "voter": "v"}
    fit = toolkit.fit_ratings([toolkit.Vote(outcome=o, **vote) for o in ("a", "a", "b")])
    assert fit.to_frame()["contestant"].tolist() == ["a", "b"]
    assert ET.fromstring(fit._repr_svg_()).tag.endswith("svg")


def test_nothing_to_score_is_refused():
    with pytest.raises(toolkit.InputError, match="nothing to score"):
        toolkit.score_completions([], ["rouge"])


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="has no attribute 'trian_stages'"):
        _ = toolkit.trian_stages


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, toolkit; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_users_get_the_types(tmp_path: Path):
    """Mypy knows the public functions from outside, by `py.typed`."""
    script = tmp_path / "user.py"
    script.write_text(
        "from pathlib import Path\nimport toolkit\n"
        "reveal_type(toolkit.run_recipe(toolkit.load_recipe('demo'), Path('x')).scores)\n"
        "toolkit.load_recipe(3)\n"
    )
    config = tmp_path / "mypy.ini"  # all but the package is skipped: reading it takes most of the time
    config.write_text("[mypy]\nfollow_imports = skip\n[mypy-toolkit,toolkit.*]\nfollow_imports = normal\n")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(config)]
    mypy += ["--cache-dir", str(tmp_path / "cache"), str(script)]
    message = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert 'Revealed type is "tuple[toolkit.types.Score, ...]"' in message
    assert '"load_recipe" has incompatible type "int"' in message or "Argument 1 to" in message


def test_running_a_recipe_imports_no_http_client():
    """It takes as long to import as all of `toolkit.run`; only endpoints use it."""
    code = "import sys, toolkit.run; sys.exit('httpx' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
