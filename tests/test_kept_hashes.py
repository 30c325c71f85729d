"""A weight file's hash is kept while the file stands as it stood: one that may have changed is read again."""

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eigenhouse.ingest.sources import kept_hashes, model_types
from eigenhouse.ingest.sources.kept_hashes import file_sha256

BEFORE, AFTER = b"weights before", b"weights after!"  # of one size


@pytest.fixture
def file(tmp_path, own_cache):
    path = tmp_path / "model.safetensors"
    path.write_bytes(BEFORE)
    return path


@pytest.fixture
def read(monkeypatch):
    """The files that were hashed, in order."""
    hashed = []
    digest = hashlib.file_digest

    def listened(opened, name):
        hashed.append(Path(opened.name).name)
        return digest(opened, name)

    monkeypatch.setattr(hashlib, "file_digest", listened)
    return hashed


@pytest.fixture
def later(monkeypatch):
    """As if the file had been written a minute ago."""
    monkeypatch.setattr(kept_hashes.time, "time_ns", lambda now=time.time_ns: now() + 60 * 10**9)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_a_file_that_stands_as_it_did_is_read_once(file, read, later):
    link = file.with_name("link")
    link.symlink_to(file)
    assert [file_sha256(path) for path in (file, file, link)] == [sha256(BEFORE)] * 3
    assert len(read) == 1
    assert file_sha256(file, anew=True) == sha256(BEFORE)
    assert len(read) == 2


@pytest.mark.parametrize("how", ["written over", "renamed over"])
def test_other_bytes_of_the_same_size_and_time_are_seen(file, later, how):
    """As `rsync --times` or `cp -p` leave them."""
    file_sha256(file)
    stood = file.stat()
    written = file if how == "written over" else file.with_name("fresh")
    written.write_bytes(AFTER)
    os.utime(written, ns=(stood.st_atime_ns, stood.st_mtime_ns))
    written.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stood.st_size, stood.st_mtime_ns)
    assert file_sha256(file) == sha256(AFTER)


def test_a_file_of_just_now_is_not_trusted(file, read):
    """It may be written again within the tick of a clock, and then stands as it did."""
    file_sha256(file)
    file_sha256(file)
    assert len(read) == 2


def test_a_file_that_changes_while_it_is_hashed_is_not_kept(file, later, monkeypatch):
    digest = hashlib.file_digest

    def overtaken(opened, name):
        found = digest(opened, name)
        file.write_bytes(AFTER)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", overtaken)
        file_sha256(file)
    assert file_sha256(file) == sha256(AFTER)


@pytest.mark.parametrize("note", ["", "[1]", '{"stands": null}', '{"sha256": 5}'])
def test_a_damaged_note_is_as_none(file, own_cache, later, note):
    file_sha256(file)
    [kept] = (own_cache / "hashes").iterdir()
    whole = json.loads(kept.read_text())
    kept.write_text(json.dumps(whole | json.loads(note)) if note.startswith("{") else note)
    assert file_sha256(file) == sha256(BEFORE)


def test_a_cache_that_cannot_be_written_costs_time_alone(file, own_cache, later):
    own_cache.write_text("a file where the folder should be")
    assert file_sha256(file) == sha256(BEFORE)


def test_writers_at_once_leave_whole_notes_and_few(file, own_cache, read, later, monkeypatch):
    monkeypatch.setattr(kept_hashes, "MOST_NOTES", 20)
    files = [file.with_name(f"shard{n}") for n in range(60)]
    for n, shard in enumerate(files):
        shard.write_bytes(bytes([n]))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(file_sha256, files)) == [sha256(bytes([n])) for n in range(60)]
    assert file_sha256(files[-1]) == sha256(bytes([59]))
    notes = list((own_cache / "hashes").iterdir())
    assert 0 < len(notes) <= 20 + 8
    assert all(json.loads(note.read_text())["sha256"] for note in notes)


def test_model_types_are_read_off_the_source_as_transformers_lists_them():
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    listed = model_types._listed()
    assert listed <= CONFIG_MAPPING_NAMES.keys()
    assert len(listed) > 0.9 * len(CONFIG_MAPPING_NAMES)
    assert model_types.is_known("llama")
    assert not model_types.is_known("LlamaConfig")
    assert {name for name in CONFIG_MAPPING_NAMES if not model_types.is_known(name)} == set()
