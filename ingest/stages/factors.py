"""The gate: every head's factors proved, and of each stack what it is and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console
from eigenhouse.ingest.capture.sites import Site, Unreadable
from eigenhouse.ingest.capture.stacks import Stack, attention_kind, own_layer, position_encoding, unreached
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.geometry.heads import Recipe
from eigenhouse.ingest.models.witness import Testimony
from eigenhouse.ingest.proof.conformance import TOLERANCE, Pair, proven_factors
from eigenhouse.ingest.proof.factors import HeadFactors
from eigenhouse.ingest.proof.variants import Layer, NotThere
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.factor_files import FactorFiles
from eigenhouse.ingest.stages.frames import long_frame
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.model_parts import folder_of
from eigenhouse.ingest.stages.writer import StackFacts, Writer

Absent = dict[str, dict[str, str]]  # variant → module that lacks it → reason
LAYER_KINDS = {
    "layer": pl.Int32, "n_heads": pl.Int32, "n_kv_heads": pl.Int32, "head_dim": pl.Int32, "attention_kind": pl.String,
    "window_size": pl.Int32, "is_measured": pl.Boolean, "position_dim": pl.Int32,
}  # fmt: skip


@stage(
    writes=("layers", "conformance"),
    scope={"stage": "in ('factors', 'source')"},
    options=("variants",),
    version=1,
)
def factors(inputs: Inputs, out: Writer) -> None:
    """Prove every head's factors and keep them beside the rows (.npy), those of the variants too.

    A stack of which nothing can be measured is noted among the skipped modules of the first that can. Raises
    EigenhouseError naming layer, head and error where a head's factors don't reproduce the model's scores, and where
    one reason leaves most of a stack out, unless that is asked for.
    """
    bench = inputs.bench
    with console.stage("proving heads (layers)", sum(len(stack.sites) for stack in bench.stacks)) as advance:
        proven = [_prove_stack(bench, stack, number, out, advance) for number, stack in enumerate(bench.stacks)]
    measured = [found for found in proven if found.first is not None]
    if not measured:
        raise EigenhouseError(_nothing_measured(bench.stacks[0], bench.stacks[0].skipped))
    out.manifest.absent = unreached(bench.loaded.model, bench.stacks, bench.sites)
    for found in proven:
        if found.first is None:
            measured[0].stack.skipped |= found.stack.skipped
            out.manifest.absent[found.stack.prefix] = next(iter(found.stack.skipped.values()))
    out.skip(measured[0].name, bench.loaded.checkpoint.left_aside, stage="source")
    for found in measured:
        left_out = layers_left_out(found, stack_config(bench, found.stack), bench.sites)
        if not inputs.options.partial:
            want_most(found, left_out)
        modules = {bench.sites[found.stack.sites[layer]].path for layer in found.shapes}
        out.skip(found.name, found.stack.skipped | _absent_variants(found.absent, modules))
        _write_layers(bench, found, out)
        out.manifest.stacks.append(
            StackFacts(
                name=found.name,
                is_cross=found.stack.is_cross,
                worst_error=max(float(proof.errors.max()) for proof in found.proofs),
                model=describe_stack(bench, found),
                layouts={proof.layer: proof.layout for proof in found.proofs},
                latent=found.latent,
                left_out=left_out,
            )
        )


@dataclass(frozen=True)
class LayerProof:
    """errors (head,): of the gate · layout: how the factors lie in the module · testimony: on its quantized weights."""

    layer: int
    errors: np.ndarray
    layout: str
    testimony: Testimony | None


@dataclass(frozen=True)
class ProvenStack:
    """What the gate found in one stack.

    shapes: measured layer → shapes of its W_Q and W_K · position_dims: features for positions alone, in layers with
    such features · latent: sides ('q', 'k') that are products of several matrices, by layer · first: those of one
    layer, without its matrices.
    """

    stack: Stack
    name: str
    shapes: dict[int, Any]
    position_dims: dict[int, int]
    latent: dict[int, str]
    proofs: list[LayerProof]
    absent: Absent
    first: HeadFactors | None


def _prove_stack(
    bench: Workbench, stack: Stack, number: int, out: Writer, advance: Callable[[int], None]
) -> ProvenStack:
    """Prove the stack's layers and save their factors; a folder is made only where there are any."""
    name = folder_of(number)
    files = FactorFiles(out.root / name)
    shapes, position_dims, latent = {}, {}, {}
    proofs: list[LayerProof] = []
    first: HeadFactors | None = None
    absent: Absent = {}
    for layer, index in sorted(stack.sites.items()):
        factors, rel_errors = _prove(bench, stack, layer, index, files, absent)
        advance(1)
        if factors is None:
            continue
        first = first or factors.without_matrices()
        shapes[layer] = tuple(side.shape for side in factors.content((factors.w_q, factors.w_k)))
        if factors.n_position:
            position_dims[layer] = factors.n_position
        if sides := ("q" if factors.latent_q else "") + ("k" if factors.latent_k else ""):
            latent[layer] = sides
        testimony = None
        if not any(proof.testimony for proof in proofs):
            path = bench.sites[index].path
            testimony = bench.loaded.checkpoint.testimony(path, own_layer(stack, path).removesuffix("."))
        proofs.append(LayerProof(layer, rel_errors, factors.layout, testimony))
        del factors  # as large as the next layer's
    return ProvenStack(stack, name, shapes, position_dims, latent, proofs, absent, first)


def _prove(
    bench: Workbench, stack: Stack, layer: int, index: int, files: FactorFiles, absent: Absent
) -> tuple[HeadFactors | None, np.ndarray]:
    """A layer's factors and each head's error, saved once they are proven, and the variants' one after the other.

    absent: takes the variants that don't apply.
    """
    site = bench.sites[index]
    try:
        with bench.loaded.filled(site.path):
            factors, errors = proven_factors(site, bench.singles[index])
            if errors.max() <= TOLERANCE:
                files.save(layer, factors.content((factors.w_q, factors.w_k)))
                for name, made in _proven_variants(bench, stack, index, factors, absent):
                    files.variant(f"metric_{name}").save(layer, made)
                return factors, errors
    except Unreadable as reason:
        stack.skipped[site.path] = str(reason)
        return None, np.zeros(0)
    head = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
    raise EigenhouseError(
        f"want factors that reproduce {site.path}'s q·k to {TOLERANCE:g}; layer {layer}, head {head} is off by "
        f"{errors[head]:.3g} of its largest logit. Its module isn't what it is taken for; nothing was written"
    )


def _proven_variants(
    bench: Workbench, stack: Stack, index: int, factors: HeadFactors, absent: Absent
) -> Iterator[tuple[str, Pair | Recipe]]:
    site = bench.sites[index]
    norm = site.input_norm if site.input_norm and site.input_norm.startswith(own_layer(stack, site.path)) else None
    if sum(other.path == site.path for other in bench.sites) > 1:
        norm = None  # the module is called twice in one forward pass: its input is then its own output
    with bench.loaded.filled(norm) if norm else nullcontext():
        layer = Layer(
            site,
            bench.singles[index],
            factors,
            bench.loaded.model.get_submodule(norm) if norm else None,
            bench.far_sites[index],
        )
        for name in bench.options.variant_names:
            try:
                if stack.is_cross:
                    raise NotThere("the two sides of cross-attention read different spaces")
                yield name, layer.variant(name)
            except NotThere as reason:
                absent.setdefault(name, {})[site.path] = str(reason)


def _absent_variants(absent: Absent, modules: set[str]) -> dict[str, str]:
    """The rows of `skipped_modules`: one where a variant applies to no module, for the same reason, else one each."""
    rows = {}
    for name, reasons in absent.items():
        if reasons.keys() == modules and len(set(reasons.values())) == 1:
            rows[f"metric_{name}"] = next(iter(reasons.values()))
        else:
            rows |= {f"{path} metric_{name}": reason for path, reason in reasons.items()}
    return rows


def _nothing_measured(stack: Stack, skipped: dict[str, str]) -> str:
    path, reason = next(iter(skipped.items()), (stack.prefix, "no reason known"))
    return f"want at least one layer that can be measured in {stack.prefix or 'the model'}, got none; {path}: {reason}"


def layers_left_out(found: ProvenStack, config: Any, sites: list[Site]) -> dict[str, list[int]]:
    """Reason → layers without proven factors that hold softmax attention, as the config or the modules tell."""
    stack, reasons = found.stack, dict[str, list[int]]()
    for layer in sorted(set(range(stack.n_layers)) - found.shapes.keys()):
        if attention_kind(config, stack, layer, sites)[0] not in ("linear", "other"):
            element = f"{stack.prefix}.{layer}"
            own = [why for path, why in stack.skipped.items() if path == element or path.startswith(f"{element}.")]
            reasons.setdefault(own[0] if own else "no attention scores were seen in it", []).append(layer)
    return reasons


def want_most(found: ProvenStack, left_out: dict[str, list[int]]) -> None:
    """Refuse a stack that one reason leaves with less than half of its softmax attention: it is hardly the model."""
    n_softmax = len(found.shapes) + sum(map(len, left_out.values()))
    for reason, layers in left_out.items():
        if len(layers) > n_softmax / 2:
            raise EigenhouseError(
                f"want the attention of most layers in {found.stack.prefix}, but {len(layers)} of {n_softmax} can't be "
                f"measured, layer {layers[0]} first: {reason}. PARTIAL=1 measures the others"
            )


def _write_layers(bench: Workbench, found: ProvenStack, out: Writer) -> None:
    """The rows of `layers` and `conformance`."""
    stack, config, rows = found.stack, stack_config(bench, found.stack), []
    for proof in found.proofs:
        out.table("conformance", found.name).add(conformance_rows(proof), expected=found.shapes[proof.layer][0][0])
    for layer in range(stack.n_layers):
        kind, window = attention_kind(config, stack, layer, bench.sites)
        (n_heads, head_dim, _), (n_kv_heads, *_) = found.shapes.get(layer, ((None, None, None), (None,)))
        is_measured, position_dim = layer in found.shapes, found.position_dims.get(layer)
        rows.append((layer, n_heads, n_kv_heads, head_dim, kind, window, is_measured, position_dim))
    frame = pl.DataFrame(rows, schema=LAYER_KINDS, orient="row")
    out.table("layers", found.name).add(frame, expected=stack.n_layers)


def conformance_rows(proof: LayerProof) -> pl.DataFrame:
    """One layer's rows of `conformance`; the witness is null where there was nothing to dequantize, or it was heard."""
    heard, errors = proof.testimony, proof.errors.astype(np.float32)
    return long_frame({"layer": proof.layer}, ("head",), max_rel_error=errors).with_columns(
        layout=pl.lit(proof.layout),
        witness=pl.lit(heard and heard.by, pl.String),
        witness_max_rel_error=pl.lit(heard and heard.error, pl.Float32),
    )


def describe_stack(bench: Workbench, found: ProvenStack) -> dict[str, object]:
    """The columns of `models` that the stack's shape, config and first measured layer give."""
    stack, factors, shapes = found.stack, found.first, found.shapes
    assert factors is not None
    dtype, quantization = bench.loaded.checkpoint.format
    site = bench.sites[next(iter(stack.sites.values()))]
    return {
        "stack": stack.suffix or None,
        "architecture": bench.loaded.model.config.model_type,
        "n_layers": stack.n_layers,
        "n_heads": max(query[0] for query, _ in shapes.values()),
        "n_kv_heads": max(key[0] for _, key in shapes.values()),
        "head_dim": max(query[1] for query, _ in shapes.values()),
        "hidden_size": max(query[2] for query, _ in shapes.values()),
        "ffn_size": _ffn_size(stack_config(bench, stack), stack),
        "dtype": dtype,
        "quantization": quantization,
        "attention_scale": site.call.scaling * factors.q_scale * factors.k_scale,
        "has_qk_norm": factors.norm_q is not None or factors.norm_k is not None,
        "has_qk_bias": not factors.bias_moves and bool(np.any(factors.b_q) or np.any(factors.b_k)),
        "position_encoding": position_encoding(bench.tower(site), site),
        "n_parameters": bench.loaded.checkpoint.n_parameters,
    }


def stack_config(bench: Workbench, stack: Stack) -> Any:
    """Of the model within the model that the stack belongs to; of its text part, where that joins several."""
    return bench.tower(bench.sites[next(iter(stack.sites.values()))]).config.get_text_config()


def _ffn_size(config: Any, stack: Stack) -> int | None:
    side = "decoder" if "decoder" in stack.prefix.split(".") else "encoder"
    for name in (
        "intermediate_size",
        "ffn_dim",
        "n_inner",
        "d_ff",
        "hidden_dim",
        f"{side}_ffn_dim",
        "ffn_hidden_size",
    ):
        size = getattr(config, name, None)
        if isinstance(size, list | tuple) and size:
            size = max(size)
        if isinstance(size, int):
            return size
    return 4 * config.hidden_size if hasattr(config, "n_inner") else None
