"""`eigenhouse ingest`: one run for each revision, and what it says where it is cut short."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from eigenhouse import stopping
from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.runs import run
from eigenhouse.ingest.runs.engines import engine
from eigenhouse.ingest.sources import catalog
from eigenhouse.options import Ingest

BETWEEN_REVISIONS = (
    "stopped; the revisions before this one are in the warehouse, and the same command goes on from the last finished "
    "stage"
)
FULL = (errno.ENOSPC, errno.EDQUOT)


def ingest(options: Ingest) -> None:
    """Every revision asked for. Raises EigenhouseError where the disk is full."""
    options = replace(options, model=options.model or catalog.default())
    with _prepared(options):
        for number, revision in enumerate(_revisions(options)):
            if number:
                stopping.kept(BETWEEN_REVISIONS)
            one = replace(options, revision=revision)
            if options.pack:
                _packed(one, options.pack)
            elif options.model.endswith(".json"):
                from eigenhouse.ingest.exchange.imports import import_file  # late: it brings polars

                import_file(one)
            else:
                run.ingest(one)


def packed_for(options: Ingest, folder: Path) -> Path | None:
    """The pack of what the options' warehouse lacks of a model; None where that is nothing."""
    with _prepared(options):
        return run.pack(options, folder, is_due_alone=True)


def is_in(options: Ingest) -> bool:
    """Whether nothing is due. For models that were read before, as a damaged one may take long to refuse."""
    try:
        return not run.planned(options).due()
    except (EigenhouseError, OSError):
        return False


@contextmanager
def _prepared(options: Ingest) -> Iterator[None]:
    # before torch is imported: threads that spin for long as they wait for one another take four times the CPU seconds
    # of a tiny ingest where another program has the cores; ones that never spin make prompts take a tenth longer
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    engine(options.engine)  # refused, if there is none of that name, before anything is fetched
    try:
        yield
    except OSError as error:
        raise _of_a_file(error) from error
    except MemoryError as error:
        raise EigenhouseError(
            "out of memory; the warehouse is unchanged (of a model STATIC_ONLY=1 needs the least: one layer at a time)"
        ) from error


def _packed(options: Ingest, folder: Path) -> None:
    if options.model.endswith(".json"):
        raise EigenhouseError("PACK goes with a model: what a file of measurements brings depends on the warehouse")
    run.pack(options, folder)


def _of_a_file(error: OSError) -> EigenhouseError:
    """Which file, on which disk, and what to do. numpy's own error for a full disk tells bytes alone."""
    if error.errno not in FULL and not re.fullmatch(r"\d+ requested and \d+ written", str(error)):
        why = f"{error.strerror or first_line(error)}: {error.filename or 'a file of the ingest'}"
        return EigenhouseError(f"{why}; the warehouse is unchanged")
    file = error.filename or f"a file in {catalog.cache_dir()}"
    return EigenhouseError(
        f"the disk is full, or your share of it: no room to write {file}; the warehouse is unchanged. Free some space, "
        "or set CACHE to a folder on another disk, and run again: finished stages are kept"
    )


def _revisions(options: Ingest) -> list[str | None]:
    names = [name.strip() for name in (options.revisions or "").split(",") if name.strip()]
    if options.revision and names:
        raise EigenhouseError(f"want REVISION or REVISIONS, got both: {options.revision} and {', '.join(names)}")
    return list(dict.fromkeys(names)) or [options.revision]
