"""Inputs that no ingest can mean: damaged, absurd or made to harm. Each must be refused in a line, within seconds."""

from __future__ import annotations

from itertools import chain

from bench.bad_inputs import configs, ggufs, places, weights
from bench.bad_inputs.case import Case, named


def corpus() -> dict[str, Case]:
    """Every case by name."""
    return named(chain(configs.cases(), weights.cases(), ggufs.cases(), places.cases()))
