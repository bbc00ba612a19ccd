"""A tiny judge with random weights: it knows nothing, and says so with every path of the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.generate.conftest import address, served
from tests.judge.example_battles import SHORT
from toolkit.judge.prompts import JudgePrompt
from toolkit.models import Loaded, load_base
from toolkit.recipe import ModelOptions

__all__ = ["address", "served"]


@pytest.fixture(scope="session")
def tiny(tiny_model: Path) -> Loaded:
    return load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32"))


@pytest.fixture
def short() -> JudgePrompt:
    return SHORT
