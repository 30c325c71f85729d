"""The rows that the plain metric has, of every variant that was proven in any layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch

from eigenhouse.ingest import console
from eigenhouse.ingest.devices import in_blocks
from eigenhouse.ingest.geometry import identities
from eigenhouse.ingest.geometry import spectra as geometry
from eigenhouse.ingest.geometry.heads import LayerHeads, keys_of
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.factor_files import FactorFiles, Gang
from eigenhouse.ingest.stages.frames import null_frame
from eigenhouse.ingest.stages.grams import KeptGrams, check_diagonals, gang_rows, measure_gang
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.spectra import LayerSpectra, Sigmas, joined, layer_rows, spectral_gram_rows
from eigenhouse.ingest.stages.writer import Writer

LayerTask = tuple[list[FactorFiles], int, torch.device]  # the variants that a layer has


@stage(
    reads=("factors",),
    after=("grams",),
    writes=("singular_values", "eigenvalues", "head_norms", "spectral_grams", "grams"),
    shares=("null_spectra",),
    scope={"operator": "^@ 'metric_'"},
    options=("variants",),
    unless=("dynamic_only", "no_variants"),
    version=1,
)
def variants(inputs: Inputs, out: Writer) -> None:
    """And `null_spectra` of variants with other features than the plain metric."""
    for stack in inputs.stacks:
        sigmas = _write_spectra(inputs, stack, out)
        for variant in stack.variants:
            out.add(stack.facts.name, spectral_gram_rows(variant.operator, sigmas[variant.operator]))
            _write_grams(inputs, variant, sigmas[variant.operator], out)
            for table in ("grams", "spectral_grams"):
                out.expect(stack.facts.name, table, variant.n_pairs)
    shapes = {
        (query[2], query[1])
        for stack in inputs.stacks
        for variant in stack.variants
        for layer, (query, _) in variant.shapes.items()
        if query[1] != stack.shapes[layer][0][1]
    }
    if shapes:
        frame = null_frame(shapes)
        out.shared("null_spectra").add(frame, expected=len(frame))


def _write_spectra(inputs: Inputs, stack: FactorFiles, out: Writer) -> dict[str, Sigmas]:
    """Operator → layer → σ of the variants of a stack, whose rows are written."""
    tasks = [
        ([variant for variant in stack.variants if layer in variant.layers], layer, inputs.device)
        for layer in stack.layers
    ]
    sigmas: dict[str, Sigmas] = {}
    for (variants, layer, _), found in inputs.map(measure_layer, tasks, "variants (layers)"):
        for variant in variants:
            spectra = found[variant.operator]
            out.add(stack.facts.name, layer_rows(variant, layer, spectra))
            sigmas.setdefault(variant.operator, {})[layer] = spectra.sigmas[variant.operator]
    return sigmas


def _write_grams(inputs: Inputs, variant: FactorFiles, sigmas: Sigmas, out: Writer) -> None:
    """Those that were made beside the metric's, or else made now."""
    name, operator = variant.facts.name, variant.operator
    fro_sq = {layer: np.square(sigma).sum(-1) for layer, sigma in sigmas.items()}
    for gang, products in _kept(inputs, variant) or _measured(inputs, variant):
        check_diagonals(products, gang, fro_sq, f"{name}, {operator}")
        out.add(name, gang_rows(operator, gang, products))


def _kept(inputs: Inputs, variant: FactorFiles) -> Iterable[tuple[Gang, np.ndarray]]:
    """Each gang's grams if the stage of grams left them; its gangs are the same where it did."""
    products = KeptGrams(inputs.folder("grams") / variant.facts.name).load(variant.operator)
    return [] if products is None else list(zip(variant.gangs, products, strict=True))


def _measured(inputs: Inputs, variant: FactorFiles) -> Iterator[tuple[Gang, np.ndarray]]:
    tasks = [([variant], gang, inputs.device) for gang in variant.gangs]
    for (_, gang, _), found in inputs.map(measure_gang, tasks, f"{variant.operator} (key heads)"):
        yield gang, found[variant.operator]


def measure_layer(task: LayerTask) -> dict[str, LayerSpectra]:
    """Operator → measured and checked; variants that are made of the plain factors share their Grams."""
    variants, layer, device = task
    found: dict[str, LayerSpectra] = {}
    for members in _by_factors(variants, layer):
        found |= _measure(members, layer, device)
    return found


def _by_factors(variants: list[FactorFiles], layer: int) -> Iterator[list[FactorFiles]]:
    """Those that change the plain factors together, and each that has factors of its own."""
    made = [variant for variant in variants if not variant.recipe(layer).is_plain]
    yield from [made] if made else []
    yield from ([variant] for variant in variants if variant.recipe(layer).is_plain)


def _measure(members: list[FactorFiles], layer: int, device: torch.device) -> Mapping[str, LayerSpectra]:
    """Of variants that are made of one pair of factors."""
    w_q, w_k = members[0].load(layer)
    recipes = {variant.operator: variant.recipe(layer) for variant in members}
    group, is_cross = len(w_q) // len(w_k), members[0].facts.is_cross
    sampled = int(np.random.default_rng((5, layer)).integers(len(w_q)))

    def block(queries: slice, device: torch.device) -> dict[str, dict[str, torch.Tensor]]:
        keys = keys_of(queries, group)
        plain, found = LayerHeads.of(w_q[queries], w_k[keys], is_cross, device), {}
        for operator, recipe in recipes.items():
            heads = plain if recipe.is_plain else plain.changed(recipe.of_heads(queries, keys))
            head = sampled - queries.start if sampled in range(queries.start, queries.stop) else None
            found[operator] = _checked(heads, head, f"layer {layer}, {operator}", queries.start)
        return found

    parts = in_blocks(block, len(w_q), group, device, console.say)
    measured = {}
    for operator in recipes:
        arrays = joined([part[operator] for part in parts])
        sigma, eigenvalues = arrays.pop("sigma"), arrays.pop("eigenvalues", None)
        measured[operator] = LayerSpectra({operator: sigma}, arrays, eigenvalues)
    return measured


def _checked(heads: LayerHeads, sampled: int | None, where: str, first: int) -> dict[str, torch.Tensor]:
    """Values and norms by name; the sampled head's are checked through its own factors."""
    found, norms = geometry.decompose(heads, with_vectors=False), geometry.head_norms(heads)
    identities.check_sums(heads, norms, found, where, first)
    if sampled is not None:
        head, own = heads.head(sampled), slice(sampled, sampled + 1)
        by_factors = geometry.decompose(head)
        identities.check_alike(found.heads(own), by_factors, where, first + sampled)
        own_norms = {name: values[own] for name, values in norms.items()}
        identities.check_through_factors(head, own_norms, by_factors, where, first + sampled)
    values = {"sigma": found.sigma} | ({} if found.eigenvalues is None else {"eigenvalues": found.eigenvalues})
    return norms | values
