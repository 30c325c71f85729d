"""Which attention calls of a model form one stack of layers, and what each layer is."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from transformers import PretrainedConfig, PreTrainedModel

from eigenhouse.ingest.capture.sites import Site
from eigenhouse.ingest.models.parameter_names import FUSED, SEPARATE

_KINDS = {"sliding": "sliding", "chunked": "chunked", "linear": "linear", "full": "full"}
_NAMES = (("vision", r"vision|visual|image"), ("audio", r"audio|speech"), ("text", r"text|language"))


@dataclass
class Stack:
    """Layers that follow one another. suffix: '' for a model's only stack, else 'encoder', 'cross', 'vision', …

    sites: layer → index into the recorded sites; layers without one were not measured. skipped: module → reason.
    place: the second attention's name within a layer, '' for the first · silent: layers without a site whose attention
    is of a class that was measured in others.
    """

    suffix: str
    prefix: str
    is_cross: bool
    n_layers: int
    sites: dict[int, int]
    skipped: dict[str, str] = field(default_factory=dict)
    place: str = ""
    silent: frozenset[int] = frozenset()


def find_stacks(model: Any, sites: list[Site]) -> list[Stack]:
    """Group sites by the module list they stand in.

    Cross-attention is a stack of its own, and so is each hidden size, and the second attention of an element that has
    two under different names. The layer is the index in the list. If that is not unique (layers share one module, or
    have several of one name), or the list holds several stacks (stages of an image pyramid), layers are counted by
    their calls.
    """
    spots = [_spot(site.path) for site in sites]
    further = _further(spots, sites)
    groups: dict[tuple[str, bool, tuple[int, int], str], list[int]] = defaultdict(list)
    for index, (spot, site) in enumerate(zip(spots, sites, strict=True)):
        beside = spot.place if (spot.prefix, site.is_cross, spot.place) in further else ""
        groups[spot.prefix, site.is_cross, (site.hidden_size, site.key_hidden_size), beside].append(index)
    in_list = Counter((prefix, is_cross, beside) for prefix, is_cross, _, beside in groups)
    stacks = []
    for (prefix, is_cross, _, beside), members in groups.items():
        layers = [spots[index].element for index in members]
        if len(set(layers)) < len(layers) or in_list[prefix, is_cross, beside] > 1:
            layers = list(range(len(members)))
            n_layers = len(members)
        else:
            n_layers = len(model.get_submodule(prefix)) if prefix else len(members)
        stack = Stack("", prefix, is_cross, n_layers, dict(zip(layers, members, strict=True)), place=beside)
        stack.silent = _silent(model, stack, [sites[index] for index in members])
        is_first = not is_cross and not beside  # of a second attention most layers may have none
        stack.skipped = _unmeasured(model, stack, set(range(n_layers)) if is_first else stack.silent)
        stacks.append(stack)
    if len(stacks) > 1:
        _name(stacks)
    return stacks


def _further(spots: list[_Spot], sites: list[Site]) -> set[tuple[str, bool, str]]:
    """(list, is_cross, place in its elements) of attentions that come second in an element, under another name."""
    first: dict[tuple[str, bool, int], str] = {}
    further = set()
    for spot, site in zip(spots, sites, strict=True):
        if spot.place != first.setdefault((spot.prefix, site.is_cross, spot.element), spot.place):
            further.add((spot.prefix, site.is_cross, spot.place))
    return further


def unreached(model: Any, stacks: list[Stack], sites: list[Site]) -> dict[str, str]:
    """Towers with projections of a known name that no run reached, such as a vision part: module → reason."""
    called = {site.path for site in sites}
    names = {name for pair in SEPARATE for name in pair[:1]} | set(FUSED)
    towers = {
        _spot(path).prefix: type(module).__name__
        for path, module in model.named_modules()
        if path not in called and any(name in names for name, _ in module.named_children())
    }
    known = {stack.prefix for stack in stacks} | {""}
    return {
        prefix: f"no scores of its {kind} were seen when the model was run"
        for prefix, kind in towers.items()
        if prefix not in known
    }


def attention_kind(config: PretrainedConfig, stack: Stack, layer: int, sites: list[Site]) -> tuple[str, int | None]:
    """(kind, window size) of one layer: from the window passed to its kernel, else from the config's layer types.

    A layer without a site is `other`, unless the config or its module tells that there is attention in it.
    """
    types = getattr(config, "layer_types", None) or []
    named = types[layer] if layer < len(types) and not stack.is_cross else None
    kind = next((kind for word, kind in _KINDS.items() if named and named.startswith(word)), None)
    if layer not in stack.sites:
        return kind or ("full" if layer in stack.silent else "other"), None
    window = sites[stack.sites[layer]].call.window
    if isinstance(window, int):
        return "sliding", window
    if kind == "chunked":
        return kind, getattr(config, "attention_chunk_size", None)
    return "full", None


def position_encoding(model: Any, site: Site) -> str:
    """How positions enter the scores of a site: 'rope', 'relative bias', 'learned' embeddings or 'none seen'."""
    biases = (site.kwargs.get(name) for name in ("alibi", "position_bias", "relative_pos"))
    if site.call.position_bias is not None or any(isinstance(bias, torch.Tensor) for bias in biases):
        return "relative bias"
    passed = [value for name, value in site.kwargs.items() if name == "position_embeddings"] + list(site.args[1:2])
    if any(isinstance(value, tuple) or getattr(value, "is_complex", bool)() for value in passed if value is not None):
        return "rope"
    if any("rotary" in name for name in (*vars(site.module), *dict(site.module.named_modules()))):
        return "rope"
    names = [name.rsplit(".", 1)[-1] for name, _ in model.named_modules()]
    names += [name.rsplit(".", 1)[-1] for name, _ in model.named_parameters()]
    table = re.compile(r"(.*position.*|wpe|embed_pos.*|pos_.*embed.*)$")
    return "learned" if any(map(table.match, names)) else "none seen"


def own_layer(stack: Stack, path: str) -> str:
    """The stack's list element that a module of it stands in, with its closing dot; '' without a list."""
    return ".".join(path.split(".")[: stack.prefix.count(".") + 2]) + "." if stack.prefix else ""


def tower(model: Any, path: str) -> Any:
    """The model within the model that a module belongs to, its embeddings included: a vision part, or all of it.

    The outermost one whose config is of the same class as that of the innermost.
    """
    names = path.split(".")
    around = [model.get_submodule(".".join(names[:n])) for n in range(len(names))]
    models = [module for module in around if isinstance(module, PreTrainedModel)] or [model]
    return next(module for module in models if type(module.config) is type(models[-1].config))


class _Spot(NamedTuple):
    """Where a module stands: its list, the element of that, and its path in the element without further indices."""

    prefix: str
    element: int
    place: str


def _spot(path: str) -> _Spot:
    """Of the outermost list; '' and 0 where there is none."""
    parts = path.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    prefix, element = ("", 0) if at is None else (".".join(parts[:at]), int(parts[at]))
    return _Spot(prefix, element, ".".join(part for part in parts[at or 0 :] if not part.isdigit()))


def _silent(model: Any, stack: Stack, sites: list[Site]) -> frozenset[int]:
    """Of the layers without a site those that have a module of a site's class where a layer with one has it."""
    own = {(site.path.removeprefix(own_layer(stack, site.path)), type(site.module)) for site in sites if stack.prefix}
    return frozenset(
        layer
        for layer in set(range(stack.n_layers)) - set(stack.sites)
        for path, kind in own
        if type(dict(model.get_submodule(f"{stack.prefix}.{layer}").named_modules()).get(path)) is kind
    )


def _unmeasured(model: Any, stack: Stack, layers: Iterable[int]) -> dict[str, str]:
    skipped = {}
    for layer in set(layers) - set(stack.sites):
        path = f"{stack.prefix}.{layer}"
        children = ", ".join(type(child).__name__ for child in model.get_submodule(path).children())
        skipped[path] = f"no attention scores were seen in it (made of {children})"
    return skipped


def _name(stacks: list[Stack]) -> None:
    for stack in stacks:
        words = [name for name, pattern in _NAMES if re.search(pattern, stack.prefix)]
        words += [word for word in stack.prefix.split(".") if word in ("encoder", "decoder")]
        stack.suffix = "cross" if stack.is_cross else (words or [stack.prefix.replace(".", "-") or "attention"])[0]
        stack.suffix += f"-{stack.place.replace('.', '-')}" if stack.place else ""
    taken: dict[str, int] = defaultdict(int)
    for stack in stacks:
        taken[stack.suffix] += 1
        if taken[stack.suffix] > 1:
            stack.suffix += str(taken[stack.suffix])
