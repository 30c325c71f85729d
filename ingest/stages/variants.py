"""The rows that the plain metric has, of every variant that was proven in any layer."""

from __future__ import annotations

from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.frames import null_frame
from eigenhouse.ingest.stages.grams import gang_rows, measure_gang
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.spectra import Sigmas, layer_rows, measure_layer, spectral_gram_rows
from eigenhouse.ingest.stages.writer import Writer


@stage(
    reads=("factors",),
    writes=("singular_values", "eigenvalues", "head_norms", "spectral_grams", "grams"),
    shares=("null_spectra",),
    scope={"operator": "^@ 'metric_'"},
    options=("variants",),
    unless=("dynamic_only", "no_variants"),
    version=1,
)
def variants(inputs: Inputs, out: Writer) -> None:
    """And `null_spectra` of variants with other features than the plain metric."""
    operators = [(stack, variant) for stack in inputs.stacks for variant in stack.variants]
    layers = [(variant, layer, False) for _, variant in operators for layer in variant.layers]
    sigmas: dict[tuple[str, str], Sigmas] = {}
    for (variant, layer, _), found in inputs.map(measure_layer, layers, "variants (layers)"):
        name, operator = variant.facts.name, variant.operator
        out.add(name, layer_rows(variant, layer, found))
        sigmas.setdefault((name, operator), {})[layer] = found.sigmas[operator]
    for (name, operator), by_layer in sigmas.items():
        out.add(name, spectral_gram_rows(operator, by_layer))
    gangs = [(variant, gang) for _, variant in operators for gang in variant.gangs]
    for (variant, gang), products in inputs.map(measure_gang, gangs, "variants (key heads)"):
        out.add(variant.facts.name, gang_rows(variant.operator, gang, products))
    for _, variant in operators:
        for table in ("grams", "spectral_grams"):
            out.expect(variant.facts.name, table, variant.n_pairs)
    shapes = {
        (query[2], query[1])
        for stack, variant in operators
        for layer, (query, _) in variant.shapes.items()
        if query[1] != stack.shapes[layer][0][1]
    }
    if shapes:
        frame = null_frame(shapes)
        out.shared("null_spectra").add(frame, expected=len(frame))
