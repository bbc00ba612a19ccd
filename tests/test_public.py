"""The public interface: what `__all__` names is there, typed, and costs nothing before it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import toolkit

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "datasets", "pandas", "numpy", "pydantic", "yaml")


@pytest.mark.parametrize("name", toolkit.__all__)
def test_every_public_name_is_there_and_documented(name: str):
    value = getattr(toolkit, name)
    assert isinstance(value, str) or value.__doc__


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
    told = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert 'Revealed type is "tuple[toolkit.types.Score, ...]"' in told
    assert '"load_recipe" has incompatible type "int"' in told or "Argument 1 to" in told
