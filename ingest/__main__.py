"""`python -m ingest`: a checkpoint into the warehouse. `make ingest` passes its variables as EIGENHOUSE_<NAME>."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ingest import process
from ingest.errors import EigenhouseError
from ingest.operators import DEFAULT

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _option(variable: str, text: str, **more: Any) -> Any:
    return typer.Option(envvar=f"EIGENHOUSE_{variable}", help=text, show_envvar=False, **more)


@app.command("ingest", cls=process.Command)
def main(
    model: Annotated[
        str,
        _option(
            "MODEL",
            "Hub id, folder, .safetensors, .gguf, measurement .json, catalog name; else the packaged default.",
        ),
    ] = "",
    warehouse: Annotated[Path, _option("WAREHOUSE", "The DuckDB file to write.")] = Path("warehouse.duckdb"),
    revision: Annotated[
        str, _option("REVISION", "Branch, tag or commit of a hub model; a checkpoint in a local folder.")
    ] = "",
    revisions: Annotated[
        str, _option("REVISIONS", "Several of them, as step0,step1000: each is a model of its own.")
    ] = "",
    name: Annotated[str, _option("NAME", "Name of the model in the warehouse.")] = "",
    device: Annotated[str, _option("DEVICE", "Where prompts run: cpu, cuda, cuda:1, mps.")] = "cpu",
    prompts: Annotated[
        Path | None,
        _option("PROMPTS", "Your own prompts: .jsonl, .json, .txt (one a line), .csv or .parquet."),
    ] = None,
    static_only: Annotated[bool, _option("STATIC_ONLY", "Geometry alone, one layer in memory at a time.")] = False,
    dynamic_only: Annotated[bool, _option("DYNAMIC_ONLY", "Attention statistics alone.")] = False,
    no_weights: Annotated[bool, _option("NO_WEIGHTS", "Leave out the whole weight matrices' spectra.")] = False,
    subspace_size: Annotated[
        int, _option("SUBSPACE_SIZE", "Directions of a head that count as its subspace.", min=1)
    ] = 20,
    principal_sides: Annotated[
        bool, _option("PRINCIPAL_SIDES", "Principal cosines of the key and query sides too.")
    ] = False,
    experts: Annotated[str, _option("EXPERTS", "Experts measured a layer, evenly spaced, or all.")] = "8",
    variants: Annotated[
        str,
        _option("VARIANTS", "all, none, or a list of folded, biased, qk_normed, position, rope_1, _4, _16, _64, _256."),
    ] = DEFAULT,
    eigenvectors: Annotated[str, _option("EIGENVECTORS", "auto: kept up to 64 MB a model; all; none.")] = "auto",
    trust_remote_code: Annotated[
        bool, _option("TRUST_REMOTE_CODE", "Run Python code that the model's repository brings.")
    ] = False,
    operator: Annotated[
        str, _option("OPERATOR", "What a measurement .json's singular values are of: head_product, metric.")
    ] = "",
    force: Annotated[bool, _option("FORCE", "Measure again, and replace what the name was bound to.")] = False,
    wait: Annotated[float, _option("WAIT", "Seconds to wait for a warehouse that another process holds.")] = 120.0,
) -> None:
    """Read a transformer checkpoint, prove its heads' factors, measure them, and write them to the warehouse."""
    from ingest import catalog
    from ingest.pipeline import Options, ingest

    options = Options(
        model=model or catalog.default(),
        warehouse=warehouse,
        revision=revision or None,
        name=name or None,
        device=device,
        prompts=prompts,
        static_only=static_only,
        dynamic_only=dynamic_only,
        no_weights=no_weights,
        subspace_size=subspace_size,
        principal_sides=principal_sides,
        experts=experts,
        variants=variants,
        eigenvectors=eigenvectors,
        trust_remote_code=trust_remote_code,
        operator=operator or None,
        force=force,
        wait_seconds=wait,
    )
    try:
        for one in _revisions(options.revision, revisions):
            ingest(replace(options, revision=one))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            refuse(f"{error.strerror or error}: {error.filename or 'a file of the ingest'}; the warehouse is unchanged")
        refuse(
            f"the disk is full ({error.filename or 'while staging'}); the warehouse is unchanged. "
            "Free some space and run again"
        )
    except KeyboardInterrupt:
        refuse(
            "stopped; the warehouse is unchanged, and the same command goes on from the last finished stage",
            130,
        )


def _revisions(revision: str | None, revisions: str) -> list[str | None]:
    names = [name.strip() for name in revisions.split(",") if name.strip()]
    if revision and names:
        raise EigenhouseError(f"want REVISION or REVISIONS, got both: {revision} and {', '.join(names)}")
    return list(dict.fromkeys(names)) or [revision]


def refuse(message: str, code: int = 1) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)


if __name__ == "__main__":
    process.run(app)
