"""Subspaces, alignments and weights of tiny checkpoints, row by row against dense loops over its own weights."""

import itertools

import numpy as np
import polars as pl
import pytest
import tiny_models
import transformers

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.geometry import subspaces
from eigenhouse.ingest.runs.engines import engine
from eigenhouse.ingest.sources.prompts import PromptSet
from eigenhouse.ingest.stages.declaration import declared
from eigenhouse.ingest.stages.factor_files import FactorFiles
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.writer import Manifest, StackFacts, Writer
from eigenhouse.options import Ingest

ABS = 2e-5  # of cosines and shares: float32 bases and products
TABLES = (
    "side_overlaps",
    "head_matches",
    "principal_cosines",
    "eigenvector_overlaps",
    "ffn_alignments",
    "weights",
    "weight_singular_values",
)


@pytest.fixture
def ingest(own_warehouse, ask):
    """Ingests a tiny checkpoint; gives a function that asks the warehouse."""
    own_warehouse.told = ("--name", "tiny", "--variants", "none")

    def run(folder, *arguments):
        own_warehouse.ingest(folder, *arguments)
        return ask

    return run


# --- the dense side: each architecture's own arithmetic, written out ---


def array(parameter):
    return parameter.detach().double().numpy()


def separate(layer):
    attention, mlp = layer.self_attn, layer.mlp
    weights = {name: array(getattr(attention, f"{name}_proj").weight) for name in "qkvo"}
    for name in ("gate", "up", "down"):
        weights[name] = array(getattr(mlp, f"{name}_proj").weight)
    return {(name, 0): weight for name, weight in weights.items()}


def neox(layer):
    """[q k v] head by head, three heads of 14."""
    fused = array(layer.attention.query_key_value.weight)
    parts = {name: np.concatenate([fused[42 * h + 14 * i :][:14] for h in range(3)]) for i, name in enumerate("qkv")}
    mlp = {"up": layer.mlp.dense_h_to_4h, "down": layer.mlp.dense_4h_to_h, "o": layer.attention.dense}
    return {(name, 0): weight for name, weight in (parts | {k: array(v.weight) for k, v in mlp.items()}).items()}


def gpt2(layer):
    fused = array(layer.attn.c_attn.weight)
    parts = {name: fused[:, 42 * i : 42 * (i + 1)].T for i, name in enumerate("qkv")}
    mlp = {"up": layer.mlp.c_fc, "down": layer.mlp.c_proj, "o": layer.attn.c_proj}
    return {(name, 0): weight for name, weight in (parts | {k: array(v.weight).T for k, v in mlp.items()}).items()}


def bert(layer):
    own, output = layer.attention.self, layer.attention.output
    modules = {"q": own.query, "k": own.key, "v": own.value, "o": output.dense}
    modules |= {"up": layer.intermediate.dense, "down": layer.output.dense}
    return {(name, 0): array(module.weight) for name, module in modules.items()}


def opt(layer):
    own = layer.self_attn
    modules = {"q": own.q_proj, "k": own.k_proj, "v": own.v_proj, "o": own.out_proj, "up": layer.fc1, "down": layer.fc2}
    return {(name, 0): array(module.weight) for name, module in modules.items()}


def phi3(layer):
    fused, both = array(layer.self_attn.qkv_proj.weight), array(layer.mlp.gate_up_proj.weight)
    parts = {"q": fused[:48], "k": fused[48:64], "v": fused[64:], "o": array(layer.self_attn.o_proj.weight)}
    parts |= {"gate": both[:40], "up": both[40:], "down": array(layer.mlp.down_proj.weight)}
    return {(name, 0): weight for name, weight in parts.items()}


def gpt_oss(layer):
    weights = {(name, 0): array(getattr(layer.self_attn, f"{name}_proj").weight) for name in "qkvo"}
    for expert in range(2):  # stored (inputs, outputs), gate and up in turns
        both = array(layer.mlp.experts.gate_up_proj)[expert]
        weights["gate", expert], weights["up", expert] = both[:, 0::2].T, both[:, 1::2].T
        weights["down", expert] = array(layer.mlp.experts.down_proj)[expert].T
    return weights


KINDS = {
    "qk-norm, head_dim not d/H": (separate, lambda model: model.layers),
    "c > d": (separate, lambda model: model.layers),
    "one head, one layer": (separate, lambda model: model.layers),
    "fused interleaved": (neox, lambda model: model.layers),
    "fused Conv1D": (gpt2, lambda model: model.h),
    "fused grouped": (phi3, lambda model: model.layers),
    "encoder": (bert, lambda model: model.encoder.layer),
    "own q scaling": (opt, lambda model: model.decoder.layers),
    "sinks": (gpt_oss, lambda model: model.layers),
}


def of_checkpoint(kind, folder):
    """The dense weights of each layer, from the model as transformers itself loads it."""
    read, layers = KINDS[kind]
    return [read(layer) for layer in layers(transformers.AutoModel.from_pretrained(folder))]


def dense_bases(weights, n_heads, size):
    """side → head → orthonormal rows, from each head's dense metric; and its eigenvectors by falling |λ|."""
    head_dim = len(weights["q", 0]) // n_heads
    group = n_heads // (len(weights["k", 0]) // head_dim)
    bases = {}
    for head in range(n_heads):
        w_q = weights["q", 0][head * head_dim :][:head_dim]
        w_k = weights["k", 0][head // group * head_dim :][:head_dim]
        metric = w_k.T @ w_q
        u, _, vt = np.linalg.svd(metric)
        values, vectors = np.linalg.eigh((metric + metric.T) / 2)
        order = np.argsort(-np.abs(values))[: min(16, 2 * head_dim)]
        bases[head] = {"key": u[:, :size].T, "query": vt[:size], "eigen": vectors[:, order].T}
    return bases


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_against_dense_loops(ingest, tmp_path, kind):
    """Sides, cosines, matches, alignments, spectra: 2e-5 absolute, as float32 allows, σ 1e-6 of the largest."""
    folder = tiny_models.save(kind, tmp_path / "tiny")
    ask = ingest(folder, "--static-only", "--subspace-size", "3", "--principal-sides")
    layers, n_heads = of_checkpoint(kind, folder), tiny_models.config(kind).num_attention_heads
    bases = [dense_bases(weights, n_heads, 3) for weights in layers]
    pairs = list(itertools.combinations(range(len(layers)), 2))

    overlaps, cosines, top = {}, {}, {}
    for head, (i, j) in itertools.product(range(n_heads), pairs):
        for basis in ("key", "query", "eigen"):
            values = np.linalg.svd(bases[i][head][basis] @ bases[j][head][basis].T, compute_uv=False)
            cosines |= {(head, basis, i, j, k): value for k, value in enumerate(values)}
            if basis != "eigen":
                overlaps[head, basis, i, j] = np.mean(values**2)
        top[head, i, j] = np.dot(bases[i][head]["eigen"][0], bases[j][head]["eigen"][0]) ** 2
    keyed(ask("select head, side, layer, other_layer, overlap from side_overlaps"), overlaps)
    keyed(ask("select head, basis, layer, other_layer, k, cosine from principal_cosines"), cosines)
    keyed(ask("select head, layer, other_layer, top1_overlap from eigenvector_overlaps"), top)

    heads = list(itertools.product(range(len(layers)), range(n_heads)))
    matches, means = {}, {}
    for side, (layer, head) in itertools.product(("key", "query"), heads):
        others = {
            (i, j): np.sum((bases[layer][head][side] @ bases[i][j][side].T) ** 2) / 3
            for i, j in heads
            if (i, j) != (layer, head)
        }
        for rank, (_, value) in enumerate(sorted(others.items(), key=lambda item: -item[1])[:5]):
            matches[side, layer, head, rank], means[side, layer, head, rank] = value, np.mean(list(others.values()))
        at = f"side = '{side}' and layer = {layer} and head = {head}"
        found = ask(f"select other_layer, other_head, overlap from head_matches where {at}")
        assert len(found) == min(5, len(heads) - 1)
        for i, j, overlap in found:
            assert overlap == pytest.approx(others[i, j], abs=ABS)
    keyed(ask("select side, layer, head, rank, overlap from head_matches"), matches)
    keyed(ask("select side, layer, head, rank, mean_overlap from head_matches"), means)

    shares = {
        (layer, head, side, name, expert): np.linalg.norm(weight @ bases[layer][head][side].T) ** 2
        / np.linalg.norm(weight) ** 2
        for layer, weights in enumerate(layers)
        for head, side in itertools.product(range(n_heads), ("key", "query"))
        for (name, expert), weight in weights.items()
        if name in ("gate", "up")
    }
    keyed(ask("select layer, head, side, weight, expert, energy_fraction from ffn_alignments"), shares)
    of_others = {}
    for layer, head, side, name, expert in shares:
        weight = layers[layer][name, expert]
        energies = [np.linalg.norm(weight @ bases[i][head][side].T) ** 2 for i in range(len(layers)) if i != layer]
        if energies:
            of_others[layer, head, side, name, expert] = np.mean(energies) / np.linalg.norm(weight) ** 2
    found = "from ffn_alignments where other_layers_mean is not null"
    keyed(ask(f"select layer, head, side, weight, expert, other_layers_mean {found}"), of_others)

    sigmas, shapes = {}, {}
    for layer, weights in enumerate(layers):
        for (name, expert), weight in weights.items():
            dense = np.linalg.svd(weight, compute_uv=False)
            sigmas |= {(layer, name, expert, k): sigma for k, sigma in enumerate(dense)}
            shapes[layer, name, expert] = weight.shape
    keyed(
        ask("select layer, weight, expert, k, sigma from weight_singular_values"),
        sigmas,
        abs=1e-6 * max(sigmas.values()),
    )
    rows = ask("select layer, weight, expert, n_rows, n_cols from weights")
    assert {tuple(row[:3]): tuple(row[3:]) for row in rows} == shapes
    assert ask("select count(*) from side_overlaps where is_degenerate") == [(0,)]


def keyed(rows, expected, abs=ABS):
    """Every expected row is there, once, with its value, and no other."""
    got = {tuple(row[:-1]): row[-1] for row in rows}
    assert len(got) == len(rows) and got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key] == pytest.approx(value, abs=abs), key


def test_a_cross_stack_has_sides_but_no_eigenvectors(ingest, tmp_path):
    """Cross-attention of the first decoder layer, its query side against the decoder's MLP, its own q, k, v, o."""
    folder = tmp_path / "tiny"
    model = tiny_models.randomize(transformers.T5ForConditionalGeneration(tiny_models.config("encoder-decoder")))
    model.save_pretrained(folder)
    ask = ingest(folder, "--static-only", "--subspace-size", "3")
    cross = "join models using (model_key) where stack = 'cross'"
    assert ask(f"select count(*) from principal_cosines {cross}") == [(0,)]
    assert ask(f"select count(*) from side_overlaps {cross}") == [(2 * 3,)]
    assert ask(f"select distinct side, weight from ffn_alignments {cross}") == [("query", "up")]
    assert sorted(ask(f"select distinct weight from weights {cross}")) == [("k",), ("o",), ("q",), ("v",)]
    attention, mlp = model.decoder.block[0].layer[1].EncDecAttention, model.decoder.block[0].layer[2].DenseReluDense
    w_q, w_k, up = (array(module.weight) for module in (attention.q, attention.k, mlp.wi))
    basis = np.linalg.svd(w_k[7:14].T @ w_q[7:14])[2][:3]
    [(share,)] = ask(f"select energy_fraction from ffn_alignments {cross} and layer = 0 and head = 1")
    assert share == pytest.approx(np.linalg.norm(up @ basis.T) ** 2 / np.linalg.norm(up) ** 2, abs=ABS)
    [(sigma,)] = ask(f"select sigma from weight_singular_values {cross} and layer = 0 and weight = 'v' and k = 0")
    assert sigma == pytest.approx(np.linalg.norm(array(attention.v.weight), 2), rel=1e-6)


def test_experts_are_spaced_and_the_rest_is_told(ingest, tmp_path):
    """Four experts and one that all tokens share; the hybrid's linear layers have MLPs too, from a skeleton."""
    folder = tiny_models.save("gated q_proj, hybrid", tmp_path / "tiny")
    ask = ingest(folder, "--static-only", "--experts", "2")
    experts = "select layer, list(expert order by expert) from weights where weight = 'gate' group by 1 order by 1"
    assert ask(experts) == [(layer, [-1, 0, 2]) for layer in range(3)]
    left_out = dict(ask("select module, reason from skipped_modules where stage = 'alignments'"))
    assert list(left_out) == [f"model.layers.{layer}.mlp.experts" for layer in range(3)]
    assert left_out["model.layers.1.mlp.experts"].startswith("2 of 4 experts are measured (0, 2)")
    model = transformers.AutoModel.from_pretrained(folder)
    experts_of = model.layers[1].mlp.experts
    for weight, expert, dense in (
        ("gate", 2, array(experts_of.gate_up_proj)[2][:512]),
        ("up", 2, array(experts_of.gate_up_proj)[2][512:]),
        ("down", 0, array(experts_of.down_proj)[0]),
        ("gate", -1, array(model.layers[1].mlp.shared_expert.gate_proj.weight)),
    ):
        at = f"layer = 1 and weight = '{weight}' and expert = {expert}"
        got = [row[0] for row in ask(f"select sigma from weight_singular_values where {at} order by k")]
        assert got == pytest.approx(np.linalg.svd(dense, compute_uv=False), rel=1e-5)
    # all of them: the note goes, what the factors left out stays
    ask = ingest(folder, "--static-only", "--experts", "all")
    assert ask(f"select * from ({experts}) where layer = 1") == [(1, [-1, 0, 1, 2, 3])]
    assert ask("select distinct stage from skipped_modules") == [("factors",)]
    stages = "select stages from ingest_runs order by finished_at desc limit 1"
    assert ask(f"select list_sort(json_keys(stages)) from ({stages})") == [(["alignments", "weights"],)]


def test_options_change_their_own_stages_alone(ingest, tmp_path):
    """And no weights means none, with the alignments kept."""
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    ask = ingest(folder, "--static-only", "--no-weights")
    counts = {table: ask(f"select count(*) from {table}")[0][0] for table in TABLES}
    assert counts.pop("weights") == counts.pop("weight_singular_values") == 0
    assert all(counts.values())
    ran = "select list_sort(json_keys(stages)) from ingest_runs order by finished_at desc limit 1"
    for arguments, stages in (
        ((), ["weights"]),
        (("--subspace-size", "5"), ["alignments", "subspaces"]),
        (("--subspace-size", "5", "--principal-sides"), ["subspaces"]),
    ):
        ask = ingest(folder, "--static-only", *arguments)
        assert ask(ran) == [(stages,)]
    assert ask("select distinct subspace_size from side_overlaps") == [(5,)]
    assert ask("select distinct subspace_size from ffn_alignments") == [(5,)]


def test_a_whole_model_and_a_skeleton_say_the_same(ingest, tmp_path):
    """With prompts the model is loaded whole; without, its weights are read one by one."""
    folder = tiny_models.save("sinks", tmp_path / "tiny")
    prompts = str(tiny_models.prompts(tmp_path, 5))
    ask = ingest(folder, "--static-only")
    skeleton = {table: ask(f"select * from {table} order by all") for table in TABLES}
    ask = ingest(folder, "--force", "--prompts", prompts)
    for table, rows in skeleton.items():
        assert ask(f"select * from {table} order by all") == rows


SHAPES = {0: (4, 2, 7), 2: (6, 3, 5), 3: (6, 2, 7)}  # layer → heads, key heads, head_dim; layer 1 was not measured


@pytest.fixture
def uneven_factors(tmp_path):
    """Staged factors of layers that differ in heads and head_dim, as write_factors leaves them."""
    folder, draw = tmp_path / "factors" / "stack0", np.random.default_rng(5)
    folder.mkdir(parents=True)
    for layer, (n_heads, n_kv_heads, head_dim) in SHAPES.items():
        for side, n in (("w_q", n_heads), ("w_k", n_kv_heads)):
            np.save(folder / f"{side}_{layer:04d}.npy", draw.standard_normal((n, head_dim, 31)).astype(np.float32))
    Manifest(stacks=[StackFacts("stack0", False, 0.0, {}, {}, {})]).write(folder.parent)
    dead = np.load(folder / "w_q_0003.npy")
    dead[1] = 0  # head 1 of layer 3 is zero
    np.save(folder / "w_q_0003.npy", dead)
    factors = FactorFiles(folder)
    return {layer: [array.astype(np.float64) for array in factors.load(layer)] for layer in SHAPES}


def measure(tmp_path, **options):
    """The stage of subspaces on the factors, after those that it reads; its folder and manifest."""
    told = Ingest(device="cpu", **options)
    inputs = Inputs(told, PromptSet("none", (), ()), engine("here"), lambda stage: tmp_path / stage, lambda: None)
    for name in ("spectra", "subspaces"):
        out = tmp_path / name
        out.mkdir()
        with Writer(declared()[name], out) as writer:
            declared()[name].run(inputs, writer)
    return out, writer.manifest


def test_layers_of_different_heads(uneven_factors, tmp_path):
    """A head is compared in the layers that have it; one size for all; a zero head is marked wherever it takes part."""
    out, manifest = measure(tmp_path, subspace_size=20)
    size = 5  # head_dim of layer 2

    def basis(layer, head):
        w_q, w_k = uneven_factors[layer]
        return np.linalg.svd(w_k[head // (len(w_q) // len(w_k))].T @ w_q[head])[0][:, :size].T

    rows = pl.read_parquet(out / "stack0" / "side_overlaps.parquet").filter(pl.col("side") == "key")
    got = {row[:3]: row[3:] for row in rows.select("head", "layer", "other_layer", "overlap", "is_degenerate").rows()}
    pairs = [(h, i, j) for h in range(6) for i, j in itertools.combinations(SHAPES, 2) if h < 4 or i > 0]
    assert sorted(got) == sorted(pairs)
    for head, i, j in pairs:
        overlap, is_degenerate = got[head, i, j]
        assert is_degenerate == (head == 1 and j == 3)
        if not is_degenerate:
            assert overlap == pytest.approx(np.sum((basis(i, head) @ basis(j, head).T) ** 2) / size, abs=ABS)
    matches = pl.read_parquet(out / "stack0" / "head_matches.parquet")
    assert set(matches["other_layer"]) == set(SHAPES)
    touched = (pl.col("layer") == 3) & (pl.col("head") == 1) | (pl.col("other_layer") == 3) & (
        pl.col("other_head") == 1
    )
    assert matches.filter(pl.col("is_degenerate") != touched).is_empty()
    expected = manifest.expected["stack0"]
    staged = {table: len(pl.read_parquet(out / "stack0" / f"{table}.parquet")) for table in expected}
    assert staged == expected
    assert expected["principal_cosines"] == len(pairs) * 10 and expected["head_matches"] == 2 * 16 * 5


def test_bases_that_are_not_orthonormal_are_refused(uneven_factors, tmp_path, monkeypatch):
    """Planted: a basis of length 1.1 makes overlaps of 1.2 with itself's copies; nothing is staged as finished."""
    real = subspaces.side_bases

    def stretched(heads, found, size):
        bases = real(heads, found, size)
        return {side: subspaces.Bases(0 * b.vectors + 0.9, b.is_degenerate) for side, b in bases.items()}

    monkeypatch.setattr(subspaces, "side_bases", stretched)
    with pytest.raises(EigenhouseError, match=r"share within \[0, 1\] at head 0"):
        measure(tmp_path, subspace_size=3)


@pytest.mark.parametrize("experts", ["0", "some", "-1", "1.5"])
def test_experts_that_are_no_number_are_refused(own_warehouse, tmp_path, experts):
    status, said = own_warehouse.run(tmp_path, "--experts", experts)
    assert status == 1 and f"got '{experts}'" in said
