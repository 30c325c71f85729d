"""A revision of this repository in a git worktree of its own, made for the bench and removed after it."""

from __future__ import annotations

import compileall
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from bench.rows.row import NotRun

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def worktree(revision: str, folder: Path) -> Iterator[Path]:
    """Its folder, compiled, as a first run would pay for that. Raises NotRun where git has no such revision."""
    path = folder / "revision"
    _git("worktree", "prune")  # what a bench left that was killed
    _git("worktree", "add", "--detach", str(path), revision)
    try:
        with redirect_stdout(StringIO()):
            compileall.compile_dir(path, quiet=2)
        yield path
    finally:
        _git("worktree", "remove", "--force", str(path))


def name_of(revision: str = "HEAD") -> str:
    """The short hash; with a + where the checkout has changes that no commit has."""
    try:
        changed = revision == "HEAD" and bool(_git("status", "--porcelain", "--untracked-files=no"))
        return _git("rev-parse", "--short", revision) + "+" * changed
    except NotRun:
        return "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotRun("there is no git here") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise NotRun(f"git {arguments[0]}: {lines[-1] if lines else done.returncode}")
    return done.stdout.strip()
