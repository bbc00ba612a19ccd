"""Sending a model or adapter folder to the hub. Nothing is sent but by this function."""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import EndpointError, ModelError

NEVER = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", ".*")
"""Pickled weights and hidden files stay here."""


def push(folder: Path, repo: str, *, private: bool = True) -> str:
    """Upload a folder to a model repository of the hub; one that is not there is made.

    Args:
        folder: an adapter (`results/<run>/adapters/<stage>`) or a merged model.
        repo: `owner/name`.
        private: whether a new repository is private.

    Returns:
        The repository's address.

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
        raise ModelError("the hub wants a token: set HF_TOKEN, or run `hf auth login`")
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
        raise ModelError(f"{repo}: not a repository's name (owner/name): {_first_line(error)}") from None
    except OfflineModeIsEnabled:
        raise EndpointError("HF_HUB_OFFLINE is set, so nothing is sent to the hub; unset it") from None
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        raise EndpointError(f"{repo}: the hub did not take {folder}: {_first_line(error)}") from None
    return str(address)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
