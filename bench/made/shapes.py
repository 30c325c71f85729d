"""Which models are made up: families, sizes, stacks, revisions; and how many rows each has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources.family import family

N_PROMPTS, N_EIGEN, SUBSPACE_SIZE, N_MATCHES = 8, 16, 20, 5
FIRST_KEY = 1_700_000_000_000_000
MOST_VECTOR_VALUES = 1 << 19  # of a model's eigenvectors: only small ones keep them
FEWEST, MOST = 0.001, 4.0  # how far the sizes may be scaled


@dataclass(frozen=True)
class Family:
    """One that real models have: what they call themselves, how fast their spectra fall, how they attend.

    rate: of the fall of σ over a head's ranks, in e-folds · stacks: of a checkpoint, each a row of `models`.
    """

    name: str
    organization: str
    architecture: str
    rate: float
    has_gate: bool = True
    encoding: str = "rope"
    n_groups: int = 4  # query heads a key head
    window: int | None = None  # of every layer but each sixth
    n_experts: int = 1
    linear: bool = False  # half of the layers are of linear attention, which isn't measured
    is_folded: bool = False  # metric_folded is measured too
    stacks: tuple[str | None, ...] = (None,)
    revisions: tuple[int | None, ...] = (None,)


FAMILIES = (
    Family("llama", "meta", "llama", 2.6, is_folded=True),
    Family("qwen2", "qwen", "qwen2", 2.2),
    Family("gemma3", "google", "gemma3_text", 3.4, window=512),
    Family("gpt2", "openai", "gpt2", 1.6, has_gate=False, encoding="learned", n_groups=1),
    Family("bert", "google", "bert", 1.2, has_gate=False, encoding="learned", n_groups=1),
    Family("t5", "google", "t5", 1.9, encoding="relative", n_groups=1, stacks=("encoder", "decoder", "cross")),
    Family("mixtral", "mistral", "mixtral", 2.9, n_experts=4),
    Family("jamba", "ai21", "jamba", 3.1, linear=True),
    Family("pythia", "eleuther", "gpt_neox", 2.0, False, n_groups=1, revisions=(1, 8, 64, 512, 4000, 143000)),
)
# layers, heads, head_dim, MLP as a multiple of the hidden size
SIZES = (
    (12, 12, 64, 4.0),
    (16, 16, 64, 4.0),
    (24, 16, 64, 2.7),
    (28, 12, 128, 3.5),
    (32, 32, 96, 2.7),
    (40, 24, 128, 3.0),
)


@dataclass(frozen=True)
class Model:
    """One row of `models`, and what its facts are made from."""

    model_key: int
    model_id: str
    name: str
    checkpoint: str
    revision: str | None
    revision_order: int | None
    stack: str | None
    weights_sha256: str
    architecture: str
    position_encoding: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_size: int
    ffn_size: int
    rate: float
    window_size: int | None
    n_experts: int
    has_gate: bool
    has_attention: bool
    is_linear: bool
    is_folded: bool
    keeps_vectors: bool
    has_zero_head: bool

    def row(self) -> dict[str, object]:
        derived = {"family": family(self.name, self.architecture), "n_parameters": self.n_parameters}
        return asdict(self) | derived | {"has_vectors": self.has_vectors, "n_measured": self.n_measured}

    @property
    def n_parameters(self) -> int:
        """In the matrices of all layers."""
        of_attention = 2 * (self.n_heads + self.n_kv_heads) * self.head_dim
        return self.n_layers * self.hidden_size * (of_attention + (2 + self.has_gate) * self.n_experts * self.ffn_size)

    @property
    def n_measured(self) -> int:
        return (self.n_layers + 1) // 2 if self.is_linear else self.n_layers

    @property
    def has_vectors(self) -> bool:
        return self.keeps_vectors and self.n_measured * self.n_heads * N_EIGEN * self.hidden_size <= MOST_VECTOR_VALUES

    @property
    def n_rows(self) -> int:
        """In the tables of facts, which grow with the shape."""
        heads, layers = self.n_measured * self.n_heads, self.n_measured
        pairs = self.n_heads * layers * (layers - 1) // 2
        operators = 1 + self.is_folded
        is_cross = self.stack == "cross"
        eigen = 0 if is_cross else operators * min(2 * self.head_dim, self.hidden_size) * heads
        n_inputs = (1 + self.has_gate) * self.n_experts
        n_mlp = n_inputs + self.n_experts
        return (
            (1 + operators) * self.head_dim * heads
            + eigen
            + (operators + 1 + operators) * (pairs + heads)
            + pairs * (2 + 1 + N_EIGEN)
            + heads * (2 * N_MATCHES + 2 * n_inputs + operators + 1)
            + heads * N_EIGEN * self.has_vectors
            + heads * N_PROMPTS * self.has_attention
            + self.n_layers * (5 + n_mlp + (2 + n_mlp) * self.hidden_size + 2 * self.n_kv_heads * self.head_dim)
        )


def models(n_models: int, n_rows: int) -> list[Model]:
    """As many models, the larger the more rows may be: the largest sizes at which all of them hold no more."""
    low, high = FEWEST, MOST
    if (fewest := _total(n_models, low)) > n_rows:
        raise EigenhouseError(f"{n_models} models have {fewest:,} rows at least; ask for more --rows or fewer --models")
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if _total(n_models, middle) <= n_rows else (low, middle)
    return list(_models(n_models, low))


def _total(n_models: int, scale: float) -> int:
    return sum(model.n_rows for model in _models(n_models, scale))


def _models(n_models: int, scale: float) -> Iterator[Model]:
    """Checkpoint after checkpoint, of each family in turn, in every size."""
    n_made = 0
    for turn in range(n_models):
        family = FAMILIES[turn % len(FAMILIES)]
        size = SIZES[(turn // len(FAMILIES) + turn) % len(SIZES)]
        for stack in family.stacks:
            for revision in family.revisions:
                if n_made == n_models:
                    return
                yield _model(family, size, scale, turn, stack, revision, n_made)
                n_made += 1


def _model(
    family: Family, size: tuple[int, int, int, float], scale: float, turn: int, stack: str | None,
    revision: int | None, place: int,
) -> Model:  # fmt: skip
    shrunk = [n * scale ** (1 / 3) for n in size[:3]]
    steps, fewest = (1, family.n_groups, 8), (3, family.n_groups, 8)
    n_layers, n_heads, head_dim = (
        max(least, step * round(n / step)) for n, step, least in zip(shrunk, steps, fewest, strict=True)
    )
    hidden = n_heads * head_dim
    name = f"{family.organization}/{family.name}-{n_layers}x{hidden}-{turn}"
    revised = name if revision is None else f"{name}@step{revision}"
    wobble = math.sin(turn * 1.7) / 4  # models of a family aren't alike either
    return Model(
        model_key=FIRST_KEY + place,
        model_id=f"{revised}#{stack}" if stack else revised,
        name=name,
        checkpoint=revised,
        revision=None if revision is None else f"step{revision}",
        revision_order=revision,
        stack=stack,
        weights_sha256=sha256(revised.encode()).hexdigest(),
        architecture=family.architecture,
        position_encoding=family.encoding,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads // family.n_groups,
        head_dim=head_dim,
        hidden_size=hidden,
        ffn_size=int(hidden * size[3]),
        # training makes spectra fall
        rate=family.rate * (1 + wobble) * (1 if revision is None else 0.2 + 0.07 * math.log(revision + 1)),
        window_size=family.window,
        n_experts=family.n_experts,
        has_gate=family.has_gate,
        has_attention=turn % 10 < 7,
        is_linear=family.linear,
        is_folded=family.is_folded,
        keeps_vectors=turn % 8 == 0,
        has_zero_head=turn % 7 == 3,
    )
