"""The stage of the variants: from their proven factors to the rows that the plain metric has too."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import polars as pl
from eigenhouse.ingest import console
from eigenhouse.ingest.geometry import null_spectra
from eigenhouse.ingest.geometry.spectra import LayerHeads
from eigenhouse.ingest.stages.spectra import (
    GRAM_KEYS,
    NULL_KEYS,
    gangs_of,
    gram_frames,
    load_factors,
    measured_layers,
    pairs_of_layers,
    spectra_of_layer,
    spectral_gram_frames,
)
from eigenhouse.ingest.stages.staging import write_table

KEYS = {
    "singular_values": ["operator", "layer", "head", "k"],
    "eigenvalues": ["operator", "layer", "head", "k"],
    "head_norms": ["operator", "layer", "head"],
    "spectral_grams": GRAM_KEYS,
    "grams": GRAM_KEYS,
}


def write_variants(factors: Path, out: Path) -> None:
    """Stage singular values, eigenvalues, norms and both grams of every variant that was proven in any layer.

    And `null_spectra` of variants with other features than the plain metric.
    """
    expected, shapes, stacks = {}, set(), json.loads((factors / "stacks.json").read_text())
    found = {stack["folder"]: sorted((factors / stack["folder"]).glob("metric_*")) for stack in stacks}
    n_layers = sum(len(measured_layers(folder)) for folders in found.values() for folder in folders)
    n_gangs = sum(len(gangs_of(folder)) for folders in found.values() for folder in folders)
    with console.stage("variants (layers, key heads)", n_layers + n_gangs) as advance:
        for stack, folders in found.items():
            frames: dict[str, list[pl.DataFrame]] = {table: [] for table in (*KEYS, "eigenvectors")}
            counts: Counter[str] = Counter()
            for folder in folders:
                sigmas = {}
                for layer in measured_layers(folder):
                    heads = LayerHeads.of(*load_factors(folder, layer))
                    _, n_features, hidden_size = heads.w_q.shape
                    if n_features != load_factors(factors / stack, layer)[0].shape[1]:
                        shapes.add((hidden_size, n_features))
                    [sigmas[layer]] = spectra_of_layer(heads, layer, False, frames, counts, folder.name).values()
                    advance(1)
                frames["spectral_grams"] += spectral_gram_frames(folder.name, sigmas)
                frames["grams"] += gram_frames(folder, gangs_of(folder), folder.name, advance)
                counts.update(dict.fromkeys(("grams", "spectral_grams"), pairs_of_layers(folder)))
            for table, keys in KEYS.items():
                write_table(out / stack, table, frames[table], keys)
            expected[stack] = {table: counts[table] for table in KEYS}
    if shapes:
        write_table(out, "null_spectra", [null_spectra.null_frame(shapes)], NULL_KEYS)
    (out / "expected.json").write_text(json.dumps(expected))
