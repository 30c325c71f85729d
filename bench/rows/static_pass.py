"""The static pass: against a revision, against the floor, beside a busy neighbour, on more cores."""

from __future__ import annotations

import os

from bench import floor
from bench.processes import busy_neighbour
from bench.rows.row import NotRun, Pair, Row
from bench.setting import Setting

WEIGHTS = "weights"  # the stage of whole matrices
FEW = ("--static-only", "--no-weights")


def without_weights(setting: Setting) -> Pair:
    """Ours is run without; of the revision's run with weights, where nothing is shared, their stage is left out."""
    few, (_, theirs) = setting.without_weights(setting.shape("4b")), setting.ingested(setting.shape("4b"))
    note = f"{setting.shape('4b')}; the revision's is its run of the next row, less the seconds of `{WEIGHTS}`"
    return Pair(few.seconds, theirs.without(WEIGHTS), note=note, detail={"ours": few.stages})


def with_weights(setting: Setting) -> Pair:
    """And the seconds of every stage of both, for the page's profile."""
    ours, theirs = setting.ingested(setting.shape("4b"))
    detail = {"ours": ours.stages, "theirs": theirs.stages, "peak_mb": [ours.peak_mb, theirs.peak_mb]}
    return Pair(ours.seconds, theirs.seconds, note=str(setting.shape("4b")), detail=detail)


def against_floor(setting: Setting) -> Pair:
    """The whole process, start and loading included, and each stage beside its own floor."""
    shape = setting.shape("4b")
    ours = setting.without_weights(shape)
    terms = floor.terms(shape, ours.variants)
    least = floor.seconds(terms, shape, setting.rates)
    detail = {
        "floor": least,
        "terms": [[term.stage, term.what, term.count, term.dtype, term.flops] for term in terms],
        "gemm": setting.rates.gemm,
        "reading": setting.rates.reading,
        "variants": list(ours.variants),
    }
    rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in setting.rates.gemm.items())
    note = f"a GEMM's 10⁹ operations a second: {rates}; variants {', '.join(ours.variants)}"
    return Pair(ours.seconds, sum(least.values()) - least[WEIGHTS], note=note, detail=detail)


def beside_a_neighbour(setting: Setting) -> Pair:
    """One layer; the revision takes some ten minutes for it, so the row is left out unless asked for."""
    shape = setting.shape("4b", 1)
    model = str(setting.checkpoint(shape))
    with busy_neighbour():
        ours, theirs = setting.ours(model, *FEW), setting.theirs(model, *FEW)
    return Pair(ours.seconds, theirs.seconds, note=f"{shape}; no whole weights")


def from_one_core(setting: Setting) -> Pair:
    return _cores(setting, 1, 2)


def from_two_cores(setting: Setting) -> Pair:
    return _cores(setting, 2, 16)


def _cores(setting: Setting, few: int, many: int) -> Pair:
    have = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0  # only Linux binds a process
    if have < many:
        raise NotRun(f"it wants {many} cores; this machine lends {have}")
    shape = setting.shape("4b", 2)
    model = str(setting.checkpoint(shape))
    on_few, on_many = (setting.ours(model, *FEW, n_cores=n) for n in (few, many))
    return Pair(on_many.seconds, on_few.seconds, note=f"{shape}; no whole weights")


ROWS = (
    Row("static", "static pass without whole weights", "the revision", without_weights, at_least=8),
    Row("static_weights", "static pass with whole weights", "the revision", with_weights, at_least=4),
    Row("static_floor", "static pass without whole weights", "the floor", against_floor, at_most=2.5),
    Row(
        "static_busy", "the same beside a busy neighbour", "the revision", beside_a_neighbour, at_least=8, is_long=True
    ),
    Row("cores_1_2", "static pass, from 1 to 2 cores", "itself", from_one_core, at_least=1.5),
    Row("cores_2_16", "static pass, from 2 to 16 cores", "itself", from_two_cores, at_least=4),
)
