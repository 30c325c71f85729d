"""The inner products of a head's operators over all pairs of layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eigenhouse.ingest.geometry import grams as geometry
from eigenhouse.ingest.geometry import identities, spectra
from eigenhouse.ingest.geometry.spectra import LayerHeads
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.factor_files import FactorFiles, Gang
from eigenhouse.ingest.stages.frames import pair_frame
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.writer import Rows, Writer

GangTask = tuple[FactorFiles, Gang]


@stage(
    reads=("factors",),
    writes=("grams",),
    scope={"operator": "= 'metric'"},
    unless=("dynamic_only",),
    version=1,
)
def grams(inputs: Inputs, out: Writer) -> None:
    """Key head by key head over all layers: memory is one key head's stack and its queries'."""
    tasks = [(stack, gang) for stack in inputs.stacks for gang in stack.gangs]
    for (stack, gang), products in inputs.map(measure_gang, tasks, "grams (key heads)"):
        out.add(stack.facts.name, gang_rows(stack.operator, gang, products))
    for stack in inputs.stacks:
        out.expect(stack.facts.name, "grams", stack.n_pairs)


def measure_gang(task: GangTask) -> np.ndarray:
    """⟨M, M'⟩ of its heads, (head, layer, layer), the diagonal and one entry of each checked along another path."""
    factors, (layers, heads) = task
    w_q, w_k = factors.of_gang((layers, heads))
    products = geometry.metric_grams(w_q, w_k)
    fro_sq = np.array([_fro_sq(q, k) for q, k in zip(w_q, w_k, strict=True)])
    row, column = np.random.default_rng((3, heads[0])).integers(len(layers), size=2)
    for member, head in enumerate(heads):
        direct = identities.direct_gram(w_q[row][member], w_k[row], w_q[column][member], w_k[column])
        where = f"{factors.facts.name}, {factors.operator}, head {head}"
        identities.check_grams(products[member], fro_sq[:, member], (row, column, direct), where)
    return products


def _fro_sq(w_q: np.ndarray, w_k: np.ndarray) -> np.ndarray:
    """‖M‖² of every query head of a gang in one layer, as Σσ² of the metric."""
    return np.square(spectra.metric_svd(LayerHeads.of(w_q, w_k[None]))[1]).sum(-1)


def gang_rows(operator: str, gang: Gang, products: np.ndarray) -> Iterator[Rows]:
    layers, heads = gang
    for member, head in enumerate(heads):
        frame = pair_frame({"operator": operator, "head": head}, layers, products[member])
        yield Rows("grams", frame)
