"""Fingerprints are of contents: any byte counts, the place and the time of a file do not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from toolkit import fingerprints
from toolkit.fingerprints import changed_outputs, file_hash, folder_hash
from toolkit.models.bases import content_fingerprint, fingerprint, sampled_fingerprint


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTER_ARENA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_large_file_is_read_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "weights"
    file.write_bytes(bytes(2**21))
    monkeypatch.setattr(fingerprints, "SETTLED_SECONDS", -1.0)
    found = file_hash(file)
    fingerprints._remembered.cache_clear()  # another process
    monkeypatch.setattr(fingerprints.hashlib, "file_digest", None)
    assert file_hash(file) == found
    (cache / "hashes.json").write_text("{torn")
    fingerprints._remembered.cache_clear()
    with pytest.raises(TypeError):  # it would be read again
        file_hash(file)


def test_an_edit_with_the_old_time_stamp_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprints, "SETTLED_SECONDS", -1.0)
    file = tmp_path / "weights"
    file.write_bytes(bytes(2**21))
    before, stat = file_hash(file), file.stat()
    with file.open("r+b") as data:
        data.seek(2**20)
        data.write(b"\1")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # ctime cannot be set back
    assert file_hash(file) != before


def test_a_file_of_this_moment_is_not_remembered(tmp_path: Path, cache: Path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(2**21))
    file_hash(file)
    assert not (cache / "hashes.json").exists()


def test_a_blob_of_the_hub_names_its_hash(tmp_path: Path):
    blob = tmp_path / "models--a--b" / "blobs" / ("ab" * 32)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x")
    snapshot = tmp_path / "models--a--b" / "snapshots" / "main" / "model.safetensors"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(blob)
    assert file_hash(snapshot) == "ab" * 32


def test_a_folder_is_its_names_and_contents(tmp_path: Path):
    one = tmp_path / "one"
    (one / "sub").mkdir(parents=True)
    (one / "sub" / "a").write_text("1")
    (one / "b").write_text("2")
    copy = shutil.copytree(one, tmp_path / "two")
    os.utime(copy / "b", ns=(0, 0))
    assert folder_hash(one) == folder_hash(copy)
    (copy / "b").rename(copy / "c")
    assert folder_hash(one) != folder_hash(copy)


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_a_model_is_every_file_that_loading_opens(tiny_model: Path, tmp_path: Path, name: str):
    own = shutil.copytree(tiny_model, tmp_path / "own")
    assert content_fingerprint(own) == content_fingerprint(tiny_model)
    text = (own / name).read_text() if (own / name).exists() else "{}"
    (own / name).write_text(text + " ")
    assert content_fingerprint(own) != content_fingerprint(tiny_model)
    is_template = name.endswith(".jinja")
    rendered = content_fingerprint(own, template=False) == content_fingerprint(tiny_model, template=False)
    assert rendered == is_template
    assert fingerprint(own) == fingerprint(tiny_model)


def test_a_byte_inside_a_tensor_counts(tiny_model: Path, tmp_path: Path):
    own = shutil.copytree(tiny_model, tmp_path / "own")
    file = own / "model.safetensors"
    weights = bytearray(file.read_bytes())
    weights[-1000] ^= 1
    file.write_bytes(weights)
    assert fingerprint(own) != fingerprint(tiny_model)
    assert len(sampled_fingerprint(own)) == 16


def test_a_run_without_its_manifest_or_recipe_is_named(tmp_path):
    assert changed_outputs(tmp_path) == [], "no run"
    (tmp_path / "ratings.json").write_text("{}")
    assert changed_outputs(tmp_path) == ["manifest.json is gone, and nothing can be verified"]
    (tmp_path / "recipe.yaml").write_text("name: a\n")
    (tmp_path / "manifest.json").write_text('{"steps": {}}')
    assert changed_outputs(tmp_path) == []
    (tmp_path / "recipe.yaml").write_text("name: [a\n")
    (tmp_path / "manifest.json").write_text('{"steps": {')
    assert changed_outputs(tmp_path) == [
        "recipe.yaml is gone or damaged",
        "manifest.json is damaged, and nothing can be verified",
    ]
