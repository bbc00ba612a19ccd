"""What several test modules share: where the real data and the packaged model are."""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from toolkit.progress import Progress

ROOT = Path(__file__).parents[1]

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("default", deadline=None)  # a busy machine is slow, and that is no failure
settings.register_profile("unit", deadline=None, max_examples=20)
settings.load_profile("unit" if os.environ.get("ADAPTER_ARENA_TESTS") == "unit" else "default")

if os.environ.get("ADAPTER_ARENA_TESTS") == "unit":
    os.environ["USE_TORCH"] = "0"  # for datasets, evaluate and transformers


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Run the longest tests first, so that no worker begins one when the others have ended."""
    begun = set()
    for item in items:
        if "matrix" in item.keywords and item.function in begun:
            item.add_marker("slow")
        begun.add(item.function)
    items.sort(key=lambda item: "slow" not in item.keywords)


@cache
def group_of(file: str) -> str | None:
    """The `xdist_group` that a test file names for all of its tests."""
    text = (ROOT / file).read_text(encoding="utf-8")
    found = re.search(r'^pytestmark = .*xdist_group\("([\w-]+)"\)', text, re.MULTILINE)
    return found[1] if found else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run tests of one `xdist_group` in one process, so that their fixtures are made once.

    xdist 3.8 writes the group into `_nodeid`, which pytest 9.2 no longer reads.
    """
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0]) or nodeid

    return GroupScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """`make unit` fails when a test imported torch."""
    if os.environ.get("ADAPTER_ARENA_TESTS") == "unit" and "torch" in sys.modules:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        sys.stderr.write("a test of `make unit` imported torch\n")


def pytest_runtest_teardown() -> None:
    """Leave what libraries have built out of later collections, which would walk through all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def working_directory() -> Iterator[None]:
    """Fail the test that leaves another working directory to the tests after it in its process."""
    before = Path.cwd()
    yield
    after = Path.cwd()
    os.chdir(before)
    assert after == before


@pytest.fixture(autouse=True)
def package_logger() -> None:
    """Reset the package's loggers, which commands and libraries of earlier tests and fixtures configure."""
    logging.disable(logging.NOTSET)
    logging.root.setLevel(logging.WARNING)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.partition(".")[0] == "toolkit" and isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate, logger.disabled = True, False
            logger.setLevel(logging.NOTSET)


@pytest.fixture
def progress_updates() -> Iterator[list[Progress]]:
    """What the package says of how far it is while the test runs.

    Not by `caplog`: it hears a record twice, or never, by whether an earlier test began a command.
    """

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if hasattr(record, "progress"):
                received.append(record.progress)

    received: list[Progress] = []
    logger, listener = logging.getLogger("toolkit"), Listener()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(listener)
    yield received
    logger.removeHandler(listener)
    logger.setLevel(level)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that use it are skipped where it is absent."""
    folder = Path(os.environ.get("ADAPTER_ARENA_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data here: set ADAPTER_ARENA_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a two-layer Llama with random weights, a byte tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|end|>", "<|start|>", "<|pad|>"]
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    bytewise = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytewise, eos_token="<|end|>", bos_token="<|start|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.3,
        eos_token_id=0,
        bos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
