"""Two packaged models from end to end: what is stored against numbers worked out here from their files."""

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file
from typer.testing import CliRunner

from eigenhouse import __main__ as command_line
from eigenhouse.analyses.export import export
from eigenhouse.ingest.runs import plan
from eigenhouse.ingest.sources import catalog
from eigenhouse.ingest.sources.prompts import read_prompts
from eigenhouse.ingest.stages.declaration import declared
from eigenhouse.ingest.warehouse import store

PROMPTS = (0, 13, 31)  # of the standard ones


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    """The default model's heads, and the packaged encoder whole, with its attention on a few prompts."""
    folder = tmp_path_factory.mktemp("real")
    path = folder / "warehouse.duckdb"
    (folder / "some.json").write_text(json.dumps([read_prompts().texts[place] for place in PROMPTS]))
    with pytest.MonkeyPatch.context() as patch:  # what the encoder shows too takes a third of the default's time
        heads = [declared()[name] for name in ("factors", "spectra", "variants")]
        patch.setattr(plan.Plan, "wanted", heads)
        told = ["--static-only", "--no-weights", "--eigenvectors", "none", "--variants", "rope_1,rope_16"]
        ingest(path, *told)
    ingest(path, "--model", "minilm-l6", "--prompts", str(folder / "some.json"))
    return path


def ingest(path, *told):
    words = ["ingest", *told, "--warehouse", str(path), "--force"]
    result = CliRunner().invoke(command_line.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture
def con(warehouse):
    con = store.connect(warehouse, read_only=True)
    yield con
    con.close()


def column(con, model_id, table, value, where):
    rows = con.execute(
        f"select {value} from {table} join models using (model_key) where model_id = ? and {where} order by all",
        [model_id],
    )
    return np.array([row[0] for row in rows.fetchall()], dtype=float)


def check_head(con, model_id, layer, head, w_q, w_k):
    """Stored σ, λ and norms of one head against the dense hidden × hidden metric in float64."""
    metric = w_k.astype(float).T @ w_q.astype(float)
    rank, at = len(w_q), f"layer = {layer} and head = {head}"
    dense = np.sort(np.linalg.svd(metric, compute_uv=False)[:rank])
    sigma = column(con, model_id, "singular_values", "sigma", f"{at} and operator = 'metric'")
    assert sigma == pytest.approx(dense, rel=1e-4, abs=1e-6 * dense[-1])
    values = np.linalg.eigvalsh((metric + metric.T) / 2)
    values = np.sort(values[np.argsort(-np.abs(values))][: 2 * rank])
    of_metric = f"{at} and operator = 'metric'"
    assert column(con, model_id, "eigenvalues", "eigenvalue", of_metric) == pytest.approx(
        values, abs=1e-5 * np.abs(values).max()
    )
    product = np.sort(np.linalg.svd(w_k.astype(float) @ w_q.astype(float).T, compute_uv=False))
    stored = column(con, model_id, "singular_values", "sigma", f"{at} and operator = 'head_product'")
    assert stored == pytest.approx(product, rel=1e-4, abs=1e-6 * product[-1])
    [trace] = column(con, model_id, "head_norms", "trace", of_metric)
    assert trace == pytest.approx(np.trace(metric), rel=1e-5, abs=1e-6 * dense[-1])


SAMPLED = ((0, 0), (3, 4), (11, 8), (17, 2), (29, 5))


@pytest.fixture(scope="module")
def gguf_heads():
    """Five heads cut here from the default model's GGUF: (layer, head) → W_Q, W_K, and the frequency base of its RoPE.

    9 query heads over 3 key heads, 64 wide. The converter permuted the rows of a head, of q and k alike.
    """
    reader = gguf.GGUFReader(str(catalog.fetch(catalog.default(), print)))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    heads = {}
    for layer, head in SAMPLED:
        w_q, w_k = (
            gguf.dequantize(
                tensors[f"blk.{layer}.attn_{side}.weight"].data, tensors[f"blk.{layer}.attn_{side}.weight"].tensor_type
            )
            for side in "qk"
        )
        heads[layer, head] = w_q[64 * head :][:64], w_k[64 * (head // 3) :][:64]
    return heads, float(reader.fields["llama.rope.freq_base"].contents())


def test_default_model_heads_equal_its_file(con, gguf_heads):
    """The converter's permutation doesn't show: the metric sums over rows."""
    for (layer, head), factors in gguf_heads[0].items():
        check_head(con, "smollm2-135m", layer, head, *factors)


@pytest.mark.parametrize("distance", [1, 16])
def test_default_model_rotated_heads_equal_its_file(con, gguf_heads, distance):
    """In the converter's order RoPE turns rows 2i and 2i + 1 by Δ · base^(-2i/64): another order than the model's."""
    heads, base = gguf_heads
    for (layer, head), (w_q, w_k) in heads.items():
        angles = distance * base ** (-np.arange(0, 64, 2) / 64)
        even, odd = w_q[0::2].astype(float), w_q[1::2].astype(float)
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        turned = np.empty_like(w_q, dtype=float)
        turned[0::2], turned[1::2] = cos * even - sin * odd, sin * even + cos * odd
        metric = w_k.astype(float).T @ turned
        at = f"layer = {layer} and head = {head} and operator = 'metric_rope_{distance}'"
        dense = np.sort(np.linalg.svd(metric, compute_uv=False)[:64])
        sigma = column(con, "smollm2-135m", "singular_values", "sigma", at)
        assert sigma == pytest.approx(dense, rel=1e-4, abs=1e-6 * dense[-1])
        values = np.linalg.eigvalsh((metric + metric.T) / 2)
        values = np.sort(values[np.argsort(-np.abs(values))][:128])
        found = column(con, "smollm2-135m", "eigenvalues", "eigenvalue", at)
        assert found == pytest.approx(values, abs=1e-5 * np.abs(values).max())


def test_default_model_row(con):
    columns = "n_layers, n_heads, n_kv_heads, head_dim, hidden_size, ffn_size, quantization, position_encoding"
    [row] = con.execute(f"select {columns} from models where model_id = 'smollm2-135m'").fetchall()
    assert row == (30, 9, 3, 64, 576, 1536, "Q4_1", "rope")
    errors = column(con, "smollm2-135m", "conformance", "max_rel_error", "true")
    assert len(errors) == 270 and errors.max() < 1e-5


def test_encoder_heads_equal_its_file(con):
    tensors = load_file(catalog.fetch("minilm-l6", print) / "model.safetensors")
    for layer, head in ((0, 0), (2, 7), (5, 11)):
        name = f"encoder.layer.{layer}.attention.self"
        rows = slice(32 * head, 32 * head + 32)
        check_head(
            con, "minilm-l6", layer, head, tensors[f"{name}.query.weight"][rows], tensors[f"{name}.key.weight"][rows]
        )


def test_encoder_entropy_is_its_eager_attention(con):
    """Mean entropy of every head on three of the prompts, from the weights that the model returns."""
    folder = str(catalog.fetch("minilm-l6", print))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    texts = read_prompts().texts
    for prompt, place in enumerate(PROMPTS):
        inputs = tokenizer(texts[place], return_tensors="pt", truncation=True, max_length=512)
        with torch.no_grad():
            layers = model(**inputs, output_attentions=True).attentions
        for layer, weights in enumerate(layers):
            entropy = -(weights.double() * weights.double().clamp(min=1e-300).log()).sum(-1)[0].mean(-1)
            found = con.execute(
                "select entropy_nats from attention_stats join models using (model_key) where model_id = 'minilm-l6' "
                "and prompt = ? and layer = ? order by head",
                [prompt, layer],
            ).fetchall()
            assert [row[0] for row in found] == pytest.approx(entropy.tolist(), abs=1e-4)


def test_encoder_exported_and_imported_answers_alike(warehouse, tmp_path, monkeypatch):
    """Out as files and in again under another name: float32 both ways."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    path = shutil.copy(warehouse, tmp_path / "copy.duckdb")
    con = store.connect(path, read_only=True)
    files = list(export(con, ["minilm-l6"], tmp_path, None, None, print))
    con.close()
    assert [file.name.removeprefix("minilm-l6.") for file in files] == [
        "spectra.json", "gram.json", "eigdirs.pt", "effective_ranks.csv",
    ]  # fmt: skip
    for file in files[:2]:
        told = ["--model", str(file), "--name", "again", "--warehouse", str(path)]
        result = CliRunner().invoke(command_line.app, ["ingest", *told], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    con = store.connect(path, read_only=True)
    product = "where operator = 'head_product'"
    for columns, source in (
        ("operator, head, layer, other_layer, cosine", f"shape_cosines {product}"),
        ("operator, layer, head, effective_rank, op_norm", f"head_descriptors {product}"),
        ("layer, head, entropy_nats, logit_std", "head_attention where true"),
        ("head, layer, other_layer, gram", "grams join models using (model_key) where operator = 'metric'"),
        ("head, layer, other_layer, k, cosine", "principal_cosines join models using (model_key) where true"),
        ("head, layer, other_layer, top1_overlap", "eigenvector_overlaps join models using (model_key) where true"),
    ):
        sql = f"select {columns} from {source} and model_id = ? order by all"
        one, other = (con.execute(sql, [model_id]).fetchnumpy() for model_id in ("again", "minilm-l6"))
        for name, values in one.items():
            assert len(values) > 0
            if name != "operator":
                slack = 1e-6 if name in ("cosine", "top1_overlap") else 0
                assert values == pytest.approx(other[name], rel=1e-6, abs=slack)
    con.close()
