"""The inner products of a head's operators over all pairs of layers.

Those of variants that change no more than the heads' features cost next to nothing beside the metric's, so they are
made in one go and kept (.npy) for the stage of variants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from eigenhouse.ingest import console
from eigenhouse.ingest.devices import or_on_cpu
from eigenhouse.ingest.geometry import grams as geometry
from eigenhouse.ingest.geometry import identities
from eigenhouse.ingest.geometry.heads import Recipe
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.factor_files import FactorFiles, Gang
from eigenhouse.ingest.stages.frames import pair_frame
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.spectra import DecompositionFiles
from eigenhouse.ingest.stages.writer import Rows, Writer

FroSq = Mapping[int, np.ndarray]  # layer → ‖M‖² of every head, as Σσ²
GangTask = tuple[Sequence[FactorFiles], Gang, torch.device]  # operators of the same factors


@stage(
    reads=("factors", "spectra"),
    writes=("grams",),
    scope={"operator": "= 'metric'"},
    unless=("dynamic_only",),
    version=1,
)
def grams(inputs: Inputs, out: Writer) -> None:
    """Key head by key head over all layers: memory is one key head's stack and its queries'."""
    for stack in inputs.stacks:
        name = stack.facts.name
        spectra = DecompositionFiles(inputs.folder("spectra") / name)
        fro_sq = {layer: spectra.fro_sq(layer) for layer in stack.layers}
        operators = [stack, *(variant for variant in stack.variants if shares_products(stack, variant))]
        kept: dict[str, list[np.ndarray]] = {}
        tasks = [(operators, gang, inputs.device) for gang in stack.gangs]
        for (_, gang, _), products in inputs.map(measure_gang, tasks, "grams (key heads)"):
            check_diagonals(products[stack.operator], gang, fro_sq, f"{name}, {stack.operator}")
            out.add(name, gang_rows(stack.operator, gang, products[stack.operator]))
            for variant in operators[1:]:
                kept.setdefault(variant.operator, []).append(products[variant.operator])
        out.expect(name, "grams", stack.n_pairs)
        for operator, of_gangs in kept.items():
            np.savez(KeptGrams(out.folder(name)).path(operator), *of_gangs)


@dataclass(frozen=True)
class KeptGrams:
    """Grams of variants that were made beside the metric's, gang by gang."""

    folder: Path

    def path(self, operator: str) -> Path:
        return self.folder / f"grams_{operator}.npz"

    def load(self, operator: str) -> list[np.ndarray] | None:
        if not self.path(operator).exists():
            return None
        with np.load(self.path(operator)) as held:
            return [held[name] for name in held.files]


def shares_products(plain: FactorFiles, variant: FactorFiles) -> bool:
    """Whether a variant's grams are made of the same large products: it has all layers and no gain."""
    recipes = [variant.recipe(layer) for layer in variant.layers]
    return plain.layers == variant.layers and all(
        recipe.query.gain is None and not recipe.is_plain for recipe in recipes
    )


def measure_gang(task: GangTask) -> dict[str, np.ndarray]:
    """Operator → ⟨M, M'⟩ of the gang's heads, (head, layer, layer).

    One entry of each head is checked.
    """
    operators, gang, device = task
    layers, heads = gang
    w_q, w_k = operators[0].of_gang(gang)
    recipes = {factors.operator: factors.recipes_of_gang(gang) for factors in operators}
    products = or_on_cpu(partial(geometry.operator_grams, w_q, w_k, recipes), device, console.say)
    row, column = np.random.default_rng((3, heads[0])).integers(len(layers), size=2)
    for operator, found in products.items():
        for member, head in enumerate(heads):
            ends = [_factors(w_q[end], w_k[end], recipes[operator][end], member) for end in (row, column)]
            direct = identities.direct_gram(*ends[0], *ends[1])
            where = f"{operators[0].facts.name}, {operator}, head {head}"
            identities.check_gram(found[member], (row, column, direct), where)
    return products


def check_diagonals(products: np.ndarray, gang: Gang, fro_sq: FroSq, where: str) -> None:
    """Of every head's grams: Σσ² of its spectrum in each layer, which was found along another path."""
    layers, heads = gang
    for found, head in zip(products, heads, strict=True):
        by_layer = np.array([fro_sq[layer][head] for layer in layers])
        identities.check_diagonal(found, by_layer, f"{where}, head {head}")


def _factors(w_q: np.ndarray, w_k: np.ndarray, recipe: Recipe, member: int) -> tuple[np.ndarray, np.ndarray]:
    """One head's own, as its recipe makes them."""
    query, key = recipe.query.of_heads(slice(member, member + 1)), recipe.key
    return query.factor(w_q[member : member + 1]).numpy()[0], key.factor(w_k[None]).numpy()[0]


def gang_rows(operator: str, gang: Gang, products: np.ndarray) -> Iterator[Rows]:
    layers, heads = gang
    for member, head in enumerate(heads):
        frame = pair_frame({"operator": operator, "head": head}, layers, products[member])
        yield Rows("grams", frame)
