"""Which of the installed transformers' model types are measured right: a tiny random model of each, ingested.

Each type is built small from its own config, saved, and ingested as any checkpoint is. Then every head's singular
values in the warehouse are held against a dense SVD of factors that were read by basis vectors from the checkpoint as
transformers loads it: no layout, no skeleton. Each type runs in a process of its own, so that one that crashes or
swells takes no other along. WRONG is a head that is off or missing, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import transformers
import transformers.models.llama.modeling_llama  # what most types import: once, before the forks

from bench.coverage_page import counts, page, table_row
from bench.tiny_configs import every_type, randomize, small_config
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.capture.sites import Site, Unreadable
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.models.loading import load_model
from eigenhouse.ingest.proof.basis_vectors import read_factors
from eigenhouse.ingest.proof.surroundings import read_rope_scale
from eigenhouse.ingest.runs import run
from eigenhouse.ingest.sources.locate import resolve

# ingest imports its stages late; a fork that finds them imported starts at once
from eigenhouse.ingest.stages import attention as attention_stage  # noqa: F401
from eigenhouse.ingest.warehouse import store
from eigenhouse.options import Ingest

SECONDS, BYTES = 60, 6 * 2**30
TOO_LARGE = f"takes over {SECONDS} s or {BYTES / 2**30:.0f} GB"
WAREHOUSE = "warehouse.duckdb"
TOLERANCE = 1e-3  # of a head's largest σ: the reading by basis vectors is float32
NAMED = """
    bert bloom deepseek_v3 falcon+new_decoder gemma3_text gpt2 phi3 qwen3_next t5 longcat_flash qwen3_vl
"""
TYPES = NAMED.split()
Head = tuple[str, str, int, int]  # stack, operator, layer, head
Answer = dict[str, Any]  # verdict, layouts, n_heads, worst, why (a list), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", default=TYPES, help="model types to try; well known ones without")
    parser.add_argument("--all", action="store_true", help="every type that has a bare model, some hundreds")
    parser.add_argument("--jobs", type=int, default=1, help="types at a time")
    parser.add_argument("--json", action="store_true", help="a line of JSON a type in place of the table's rows")
    parser.add_argument("--page", type=Path, help="write the whole as Markdown to this file too")
    arguments = parser.parse_args()
    answers = {}
    for name, answer in walk(every_type() if arguments.all else arguments.types, arguments.jobs):
        answers[name] = answer
        print(json.dumps({"type": name} | answer) if arguments.json else row(name, answer), flush=True)
    print(counts(answers), file=sys.stderr if arguments.json else sys.stdout)
    if arguments.page:
        arguments.page.write_text(page(answers, TOLERANCE), encoding="utf-8")
    sys.exit(any(answer["verdict"] == "WRONG" for answer in answers.values()))


def walk(types: Iterable[str], jobs: int = 1) -> Iterator[tuple[str, Answer]]:
    """Every type's answer, in order."""
    types, context = list(types), get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.duckdb"  # made once and copied: declaring the views is a third of a tiny ingest
        making = context.Process(target=lambda: store.connect(empty, read_only=False).close())
        making.start()
        making.join()
        with context.Pool(jobs) as pool:
            yield from zip(types, pool.imap(partial(in_a_process, empty), types), strict=True)


def in_a_process(empty: Path, model_type: str) -> Answer:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:  # removed by this process, whatever becomes of the child
        shutil.copy(empty, Path(folder) / WAREHOUSE)
        answer = _forked(model_type, Path(folder))
    return answer | {"seconds": round(time.monotonic() - started, 1)}


def _forked(model_type: str, folder: Path) -> Answer:
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
        signal.alarm(SECONDS)
        answer = refusal("WRONG", "it died")
        try:
            answer = tried(model_type, folder)
        except BaseException as error:
            answer = refusal("WRONG", error)
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    said = said.replace(f"{folder}/".encode(), b"")
    return json.loads(said) if said else refusal("not built", TOO_LARGE)


def refusal(verdict: str, why: BaseException | str) -> Answer:
    if "allocate memory" in str(why):
        verdict, why = "not built", TOO_LARGE
    if isinstance(why, BaseException):
        kind = "" if isinstance(why, EigenhouseError) else f"{type(why).__name__}: "
        lines = [line.strip() for line in str(why).splitlines() if line.strip()]
        # the second line of a validation error holds what was wrong
        why = kind + " ".join(lines[-1:] if "Validation" in kind else lines[:1])[:200]
    return {"verdict": verdict, "layouts": [], "n_heads": 0, "worst": None, "why": [why]}


def tried(model_type: str, folder: Path) -> Answer:
    """Build the type small and random, save it, ingest it, compare."""
    warnings.simplefilter("ignore")
    os.environ["EIGENHOUSE_CACHE"] = str(folder / "cache")
    checkpoint, warehouse = folder / model_type, folder / WAREHOUSE
    try:
        model = transformers.AutoModel.from_config(small_config(model_type))
        randomize(model, 0.1)  # with larger weights the boxes of some detectors overflow
        model.save_pretrained(checkpoint)
    except Exception as error:
        return refusal("not built", error)
    options = Ingest(model=str(checkpoint), warehouse=warehouse, static_only=True, no_weights=True, variants="position")
    try:
        run.ingest(options)
    except Exception as error:
        return refusal("not measured", error)
    return judged(warehouse, options)


def judged(warehouse: Path, options: Ingest) -> Answer:
    """What the warehouse holds of the one checkpoint in it, held against the checkpoint itself."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        stored = stored_sigma(con)
        layouts = con.execute("select layout from conformance group by layout order by min(rowid)").fetchall()
        skipped = dict(
            con.execute(
                "select module, reason from skipped_modules "
                "where stage = 'factors' and module <> 'metric_position' order by all"
            ).fetchall()
        )
    wrong, worst = compared(stored, *dense_sigma(options, skipped))
    reasons = Counter(skipped.values())
    return {
        "verdict": "WRONG" if wrong else "in part" if skipped else "measured",
        "layouts": [layout for (layout,) in layouts],
        "n_heads": sum(operator == "metric" for _, operator, *_ in stored),
        "worst": worst,
        "why": wrong or [f"{count} × {reason}" for reason, count in reasons.items()],
    }


def stored_sigma(con: duckdb.DuckDBPyConnection) -> dict[Head, np.ndarray]:
    """Each head's singular values, times the scale of its scores: what a module multiplies q with is in there."""
    rows = con.execute(
        "select coalesce(stack, ''), operator, layer, head, attention_scale, list(sigma order by k) "
        "from singular_values join models using (model_key) where operator <> 'head_product' group by all"
    ).fetchall()
    return {tuple(head): scale * np.array(sigma) for *head, scale, sigma in rows}


def dense_sigma(options: Ingest, skipped: Container[str]) -> tuple[dict[Head, np.ndarray], list[str]]:
    """The same the long way round, but for what the warehouse says it skipped; and why a module can't be read.

    hidden × hidden, float64. The model is the one that transformers' own loader fills, not an ingest's skeleton.
    """
    bench = Workbench(resolve(options.model), options, needs_forward=False)
    bench.loaded = load_model(bench.source, options.trust_remote_code, whole=True)
    dense, unread = {}, []
    for stack in bench.stacks:
        for layer, index in stack.sites.items():
            site = bench.sites[index]
            if site.path in skipped:
                continue
            try:
                heads = site_sigma(site, bench.singles[index])
            except Unreadable as reason:
                unread.append(f"{site.path} can't be checked: {reason}")
                continue
            dense.update({(stack.suffix, operator, layer, head): sigma for (operator, head), sigma in heads.items()})
    return dense, unread


def site_sigma(site: Site, single: Site) -> dict[tuple[str, int], np.ndarray]:
    """(operator, head) → σ of one module's heads, by the basis vectors; query head h meets key head h // (H / G).

    Latent attention's features for positions alone, which come last, are an operator of their own.
    """
    read = read_factors(single, read_rope_scale(site))
    w_q, w_k = read.w_q.astype(np.float64), read.w_k.astype(np.float64)
    group = len(w_q) // len(w_k)
    n_content = w_q.shape[1] - getattr(site.module, "qk_rope_head_dim", 0)
    operators = {"metric": slice(n_content), "metric_position": slice(n_content, None)}
    return {
        (operator, head): np.linalg.svd(
            w_k[head // group, features].T @ w_q[head, features], compute_uv=False
        ) * site.call.scaling
        for operator, features in operators.items()
        for head in range(len(w_q) if w_q[0, features].size else 0)
    }  # fmt: skip


def compared(
    stored: dict[Head, np.ndarray], dense: dict[Head, np.ndarray], unread: list[str]
) -> tuple[list[str], float | None]:
    """What is wrong, a line each kind, and the largest error, relative to the head's largest σ."""
    errors = {head: sigma_error(stored[head], dense[head]) for head in stored.keys() & dense.keys()}
    off = {head for head, error in errors.items() if not error <= TOLERANCE}
    kinds = {"off": off, "missing": dense.keys() - stored.keys(), "not checked": stored.keys() - dense.keys()}
    wrong = [f"{len(heads)} heads {kind}, first {min(heads)}" for kind, heads in kinds.items() if heads]
    return wrong + unread, max(errors.values(), default=None)


def sigma_error(ours: np.ndarray, dense: np.ndarray) -> float:
    """Largest difference relative to the largest dense σ; those that the warehouse doesn't hold must be zero."""
    padded = np.zeros(max(len(ours), len(dense)))
    padded[: len(ours)] = ours
    padded[: len(dense)] -= dense
    worst = float(np.abs(padded).max())
    return 0.0 if worst == 0 else worst / float(dense[0]) if dense[0] > 0 else float("inf")


def row(name: str, answer: Answer) -> str:
    worst = "" if answer["worst"] is None else f"{answer['worst']:.1e}"
    cells = (name, ", ".join(answer["layouts"]), str(answer["n_heads"] or ""), worst, "; ".join(answer["why"]))
    return ("**WRONG** " if answer["verdict"] == "WRONG" else "") + table_row(*cells)


if __name__ == "__main__":
    main()
