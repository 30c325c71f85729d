"""Files of other tools in and out: hand-made ones against dense algebra, refusals, merges, round trips."""

import csv
import io
import json
import math
import shutil
from itertools import combinations

import duckdb
import experiment_fixture
import numpy as np
import polars as pl
import pytest
import torch
import warehouse_fixture

from eigenhouse import __main__ as command_line
from eigenhouse.analyses.answers import saved
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles, store

L, H, C, D, TOPK = 5, 3, 11, 29, 17
REL = 1e-6  # FLOAT columns


@pytest.fixture
def ingest(own_warehouse):
    """Runs the command line; gives exit status and what it printed."""
    return own_warehouse.run


@pytest.fixture
def export(tmp_path, capfd):
    """Runs the export of a model of some warehouse; gives exit status, the folder and what was said."""

    def run(model, *arguments, warehouse=tmp_path / "warehouse.duckdb"):
        out = tmp_path / "out"
        told = ["export", "--model", model, "--out", str(out), "--warehouse", str(warehouse), *arguments]
        with pytest.raises(SystemExit) as ending:
            command_line.app(told)
        return ending.value.code or 0, out, capfd.readouterr().err

    return run


class Model:
    """A model of dense factors, and the content of the files that another tool would write of it."""

    def __init__(self, seed=7):
        draw = np.random.default_rng(seed)
        self.w_q, self.w_k = draw.standard_normal((2, L, H, C, D))
        self.products = np.einsum("lhcd,lhed->lhce", self.w_k, self.w_q)
        self.metrics = np.einsum("lhcd,lhce->lhde", self.w_k, self.w_q)
        self.sigma = np.linalg.svd(self.products, compute_uv=False)
        self.metric_sigma = np.linalg.svd(self.metrics, compute_uv=False)[..., :C]
        values, vectors = np.linalg.eigh((self.metrics + self.metrics.transpose(0, 1, 3, 2)) / 2)
        order = np.argsort(-np.abs(values), axis=-1)
        self.values = np.take_along_axis(values, order, -1)[..., : 2 * C]
        self.vectors = np.take_along_axis(vectors, order[..., None, :], -1).transpose(0, 1, 3, 2)[..., :TOPK, :]
        self.entropy, self.spread = draw.uniform(0.1, 3, (2, L, H))

    def spectra(self, sigma=None):
        return {
            "num_layers": L,
            "num_heads": H,
            "static": [
                {"metric_singvals_per_head": rows.tolist()} for rows in (self.sigma if sigma is None else sigma)
            ],
            "dynamic": [
                {"mean_attention_entropy_per_head": one.tolist(), "mean_logit_std_per_head": other.tolist()}
                for one, other in zip(self.entropy, self.spread, strict=True)
            ],
        }

    def grams(self):
        return {
            "num_layers": L,
            "num_heads": H,
            "head_dim": C,
            "hidden_size": D,
            "gram": np.einsum("lhde,mhde->lmh", self.metrics, self.metrics).tolist(),
            "fro_sq": np.square(self.products).sum((2, 3)).tolist(),
            "eigdirs_path": "/home/somebody/runs/dirs.pt",
        }

    def tensors(self):
        return {"eig_dirs": torch.tensor(self.vectors).float(), "sym_eigs": torch.tensor(self.values).float()}


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if name.endswith(".pt"):
            torch.save(content, path)
        else:
            path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def files(write):
    """A spectra file and a gram file with its .pt, of one model."""
    model = Model()
    write("dirs.pt", model.tensors())
    return model, write("old.spectra.json", model.spectra()), write("old.gram.json", model.grams())


def heads():
    return [(layer, head) for layer in range(L) for head in range(H)]


# --- import ---


def test_a_spectra_file(ingest, ask, files):
    model, spectra, _ = files
    assert ingest(spectra)[0] == 0
    rows = ask("select operator, layer, head, k, sigma from singular_values order by all")
    assert [row[:4] for row in rows] == [("head_product", *at, k) for at in heads() for k in range(C)]
    assert [row[4] for row in rows] == pytest.approx(model.sigma.reshape(-1), rel=REL)
    rows = ask("select operator, head, layer, other_layer, gram from spectral_grams order by all")
    wanted = [
        ("head_product", h, i, j, math.fsum(a * b for a, b in zip(model.sigma[i, h], model.sigma[j, h], strict=True)))
        for h in range(H)
        for i in range(L)
        for j in range(i, L)
    ]
    assert [row[:4] for row in rows] == [row[:4] for row in wanted]
    assert [row[4] for row in rows] == pytest.approx([row[4] for row in wanted], rel=1e-12)
    rows = ask("select prompt_set, layer, head, n_prompts, entropy_nats, logit_std, sink_weight from head_attention")
    assert sorted(row[:4] for row in rows) == [("imported", *at, 1) for at in heads()]
    for _, layer, head, _, entropy, spread, sink in rows:
        assert (entropy, spread) == pytest.approx((model.entropy[layer, head], model.spread[layer, head]), rel=REL)
        assert sink is None
    assert ask("select distinct prompt, n_queries, n_multi_queries from attention_stats") == [(0, 1, 1)]
    assert ask("from prompts") == []
    assert ask("select * exclude (model_key) from layers order by layer") == [
        (layer, H, None, None, None, None, True, None) for layer in range(L)
    ]
    [told] = ask("select model_id, name, checkpoint, source, n_layers, n_heads, head_dim, hidden_size from models")
    assert told == ("old", "old", "old", str(spectra), L, H, None, None)
    [nulls] = ask("select weights_sha256, architecture, n_kv_heads, dtype, stack, has_qk_norm from models")
    assert set(nulls) == {None}
    assert ask("select stage, status from ingested_stages join ingest_runs using (run_id)") == [
        ("import:spectra:head_product", "done")
    ]


def test_a_gram_file(ingest, ask, files):
    model, _, path = files
    assert ingest(path)[0] == 0
    pairs = ask("select operator, head, layer, other_layer, gram from grams order by all")
    assert [row[:4] for row in pairs] == [("metric", h, i, j) for h in range(H) for i in range(L) for j in range(i, L)]
    for _, h, i, j, gram in pairs:
        assert gram == pytest.approx((model.metrics[i, h] * model.metrics[j, h]).sum(), rel=1e-12, abs=1e-9)
    norms = ask("select * exclude (model_key) from head_norms order by all")
    assert [row[:3] for row in norms] == [("metric", *at) for at in heads()]
    for _, layer, head, fro_sq, trace, w_q, w_k, product in norms:
        metric, of_product = model.metrics[layer, head], model.products[layer, head]
        assert fro_sq == pytest.approx(np.square(metric).sum(), rel=1e-12)
        assert trace == pytest.approx(np.trace(metric), rel=1e-5, abs=1e-4)
        assert product == pytest.approx(np.square(of_product).sum(), rel=1e-12)
        assert (w_q, w_k) == (None, None)
    values = ask("select operator, layer, head, k, eigenvalue from eigenvalues order by all")
    assert [row[:4] for row in values] == [("metric", *at, k) for at in heads() for k in range(2 * C)]
    assert [row[4] for row in values] == pytest.approx(model.values.reshape(-1), rel=REL)
    vectors = ask("select layer, head, k, vector from eigenvectors order by all")
    assert [row[:3] for row in vectors] == [(*at, k) for at in heads() for k in range(TOPK)]
    for layer, head, k, vector in vectors:
        wanted = model.vectors[layer, head, k]
        wanted = wanted * np.sign(wanted[np.abs(wanted).argmax()])
        assert vector == pytest.approx(wanted, abs=1e-6)
    assert ask("select distinct hidden_size, head_dim, count(distinct sample) from null_spectra group by all") == [
        (D, C, 16)
    ]
    assert ask("select n_layers, n_heads, head_dim, hidden_size from models") == [(L, H, C, D)]
    assert ask("select distinct head_dim, n_heads, is_measured from layers") == [(C, H, True)]


def test_directions_are_compared(ingest, ask, files):
    """The top 16 of the 17 vectors, pair by pair."""
    model, _, path = files
    ingest(path)
    rows = ask("select head, layer, other_layer, k, cosine, basis, is_degenerate from principal_cosines order by all")
    pairs = [(h, i, j) for h in range(H) for i, j in combinations(range(L), 2)]
    assert [row[:4] for row in rows] == [(*pair, k) for pair in pairs for k in range(16)]
    found = iter(rows)
    for h, i, j in pairs:
        products = model.vectors[i, h, :16] @ model.vectors[j, h, :16].T
        wanted = np.linalg.svd(products, compute_uv=False)
        assert [next(found)[4] for _ in range(16)] == pytest.approx(wanted, abs=2e-6)
    assert {row[5:] for row in rows} == {("eigen", False)}
    top1 = ask("select head, layer, other_layer, top1_overlap, is_degenerate from eigenvector_overlaps order by all")
    assert [row[:3] for row in top1] == pairs
    for h, i, j, overlap, tied in top1:
        assert overlap == pytest.approx((model.vectors[i, h, 0] @ model.vectors[j, h, 0]) ** 2, abs=1e-6)
        assert not tied


def test_without_a_pt(ingest, ask, write):
    """What it would have brought is absent, the trace null; a later import with it fills them."""
    model = Model()
    content = model.grams() | {"eigdirs_path": None, "fro_sq": None}
    assert ingest(write("a.json", content))[0] == 0
    assert ask("select count(*), count(trace), count(head_product_fro_sq) from head_norms") == [(L * H, 0, 0)]
    assert ask("select (select count(*) from eigenvalues), (select count(*) from principal_cosines)") == [(0, 0)]
    write("dirs.pt", model.tensors())
    full = write("a.json", model.grams())
    assert ingest(full, "--force")[0] == 0
    assert ask("select (select count(trace) from head_norms), (select count(*) from eigenvalues)") == [(15, 330)]
    assert ingest(write("a.json", content), "--force")[0] == 0  # what the forced file lacks goes
    assert ask("select (select count(trace) from head_norms), (select count(*) from eigenvalues)") == [(0, 0)]


@pytest.mark.parametrize("places", [(1,), (2,), (1, 2)], ids=["spectra", "grams", "both"])
def test_every_view_and_query_answers(ingest, ask, files, tmp_path, places):
    """What needs a number that no file has is null or has no row; nothing fails, nothing is NaN."""
    for place in places:
        ingest(files[place])
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as con:
        for path in sqlfiles.files("views"):
            found = con.execute(f"from {path.stem} where model_id = 'old'").pl()
            for column in found.select(pl.selectors.float()):
                assert column.is_finite().all(), (path.stem, column.name)
        for query in saved.every():
            given = {"model": "old"} if "model" in query.parameters else {}
            con.execute(query.sql, query.bind(given)).fetchall()
        there = con.execute("select distinct operator from shape_cosines").fetchall()
        assert there == ([("head_product",)] if 1 in places else [])


STATE = """
    select (select count(*) from singular_values), (select count(*) from attention_stats), (select count(*) from grams),
    (select count(*) from eigenvectors), (select count(*) from spectral_grams), hidden_size, head_dim from models
"""


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_two_files_with_one_name_merge(ingest, ask, files, order):
    for place in order:
        status, said = ingest(files[place])
        assert status == 0, said
        assert "note" not in said
    assert ask(STATE) == [(L * H * C, L * H, H * 15, L * H * TOPK, H * 15, D, C)]
    assert ask("select distinct head_dim from layers") == [(C,)]
    [[source]] = ask("select source from models")
    assert source == f"{files[order[0]]}, {files[order[1]]}"


def test_operators_stand_beside_one_another(ingest, ask, write, files):
    """The metric's spectra, told by OPERATOR, leave the head product's and the attention where they are."""
    model, spectra, grams = files
    content = model.spectra(model.metric_sigma)
    del content["dynamic"]
    for told in ([spectra], [grams], [write("metric.json", content), "--name", "old", "--operator", "metric"]):
        assert ingest(*told)[0] == 0
    rows = ask("select operator, count(*), sum(sigma) from singular_values group by all order by all")
    assert [row[:2] for row in rows] == [("head_product", L * H * C), ("metric", L * H * C)]
    assert [row[2] for row in rows] == pytest.approx([model.sigma.sum(), model.metric_sigma.sum()], rel=1e-6)
    counts = "select operator, count(*) from spectral_grams group by all order by all"
    assert ask(counts) == [("head_product", H * 15), ("metric", H * 15)]
    assert ask("select count(*) from shape_cosines") == [(2 * H * L * L,)]
    assert ask("select count(entropy_nats) from head_attention") == [(L * H,)]


def test_the_same_file_again(ingest, ask, write, files):
    model, spectra, grams = files
    for path in (spectra, grams):
        ingest(path)
        runs = ask("select count(*) from ingest_runs")
        status, said = ingest(path)
        assert status == 0 and "already imported as old" in said
        assert ask("select count(*) from ingest_runs") == runs
        assert ingest(path, "--force")[0] == 0
    assert ask(STATE) == [(L * H * C, L * H, H * 15, L * H * TOPK, H * 15, D, C)]
    write("dirs.pt", model.tensors() | {"other": torch.zeros(3)})  # a changed .pt is a changed file
    status, said = ingest(grams)
    assert status == 1 and "holds grams of another file" in said


def test_after_a_killed_import(ingest, ask, tmp_path, monkeypatch, files):
    """What a killed run staged is not taken up, and what a refused one staged is gone."""

    def killed(*_, **__):
        for run in (tmp_path / "cache" / "runs").iterdir():
            shutil.copytree(run, tmp_path / "kept" / run.name)
        raise EigenhouseError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(store, "load", killed)
        assert ingest(files[1])[0] == 1
    assert list((tmp_path / "cache" / "runs").iterdir()) == []
    [run] = (tmp_path / "kept").iterdir()
    [stage] = run.glob("import-*")
    (stage / "singular_values.parquet").write_bytes(b"rubbish")
    shutil.copytree(run, tmp_path / "cache" / "runs" / run.name)
    assert ingest(files[1])[0] == 0
    assert ask("select count(*) from singular_values") == [(L * H * C,)]


def test_another_file_of_the_same_kind(ingest, ask, write, files):
    ingest(files[1])
    other = Model(seed=8)
    content = other.spectra()
    del content["dynamic"]
    path = write("other.json", content)
    status, said = ingest(path, "--name", "old")
    assert status == 1 and "FORCE=1" in said and "old.spectra.json" in said
    assert ingest(path, "--name", "old", "--force")[0] == 0
    [[total, attention]] = ask("select sum(sigma), (select count(*) from attention_stats) from singular_values")
    assert total == pytest.approx(other.sigma.sum(), rel=1e-6)
    assert attention == 0  # it was the first file's
    assert ask("select count(*) from head_attention") == [(0,)]


def test_a_file_of_another_shape(ingest, ask, write, files):
    model, _, grams = files
    ingest(grams)
    content = model.spectra()
    content |= {"num_layers": L - 1, "static": content["static"][1:], "dynamic": content["dynamic"][1:]}
    path = write("short.json", content)
    status, said = ingest(path, "--name", "old")
    assert status == 1 and f"wanted {L} layers of {H} heads" in said and f"got {L - 1} layers" in said
    long = np.concatenate([model.sigma, np.zeros((L, H, 2))], axis=2)
    status, said = ingest(write("long.json", model.spectra(long)), "--name", "old")
    assert status == 1 and f"head_dim={C} singular values a head; got {C + 2}" in said
    assert ingest(path, "--name", "old", "--force")[0] == 0  # replaces all of it
    assert ask(STATE) == [((L - 1) * H * C, (L - 1) * H, 0, 0, H * 10, None, None)]
    assert ask("select stage from ingested_stages") == [("import:spectra:head_product",)]


def test_a_name_bound_to_weights(ingest, ask, tmp_path, files):
    """Also where the name is that of a checkpoint with several stacks."""
    for stack in ("old", "pair#encoder"):
        load = warehouse_fixture.full_load(tmp_path / stack, stack, 1)
        store.load(tmp_path / "warehouse.duckdb", [load], {}, force=False)
    for name in ("old", "pair"):
        status, said = ingest(files[1], "--name", name)
        assert status == 1 and "with other weights" in said
        assert ingest(files[1], "--name", name, "--force")[0] == 0
    assert ask("select model_id, weights_sha256 from models order by all") == [("old", None), ("pair", None)]
    assert ask("select count(*) from singular_values") == [(2 * L * H * C,)]


def test_singular_values_of_the_wrong_operator(ingest, ask, write, files):
    """The gram file knows both norms, and so tells the metric's singular values from the head product's."""
    model, spectra, grams = files
    metric = write("metric.json", model.spectra(model.metric_sigma))
    ingest(grams)
    status, said = ingest(metric, "--name", "old")
    assert status == 1 and "import the spectra with OPERATOR=metric" in said
    status, said = ingest(spectra, "--operator", "metric")
    assert status == 1 and "import the spectra with OPERATOR=head_product" in said
    assert ask("select count(*) from singular_values") == [(0,)]
    status, said = ingest(write("other.json", Model(seed=8).spectra()), "--name", "old")
    assert status == 0 and "are both files of one model?" in said
    status, said = ingest(
        write("third.json", model.spectra(1.1 * model.metric_sigma)), "--name", "old", "--operator", "metric"
    )
    assert status == 1 and "files of two models" in said


def changed(content, *path, to):
    """The content with one place of it changed; without `to` it is deleted."""
    *way, last = path
    inner = content
    for key in way:
        inner = inner[key]
    if to is ...:
        del inner[last]
    else:
        inner[last] = to
    return content


HEAD = ("static", 2, "metric_singvals_per_head", 1)
BAD_SPECTRA = {
    "no head list": ((*HEAD[:3],), [[1.0]], f"wanted {H} × any numbers in static[2].metric_singvals_per_head"),
    "ragged": (HEAD, [3.0, 2.0], "lists of unequal lengths"),
    "nan": ((*HEAD, 4), math.nan, "finite numbers"),
    "inf": ((*HEAD, 0), math.inf, "finite numbers"),
    "too large for FLOAT": ((*HEAD, 0), 1e39, "finite numbers"),
    "negative": ((*HEAD, 10), -0.5, "no negative singular value in static[2]"),
    "rising": ((*HEAD, 5), 1e6, "descending order"),
    "text": ((*HEAD, 5), "x", "other values"),
    "null": ((*HEAD, 5), None, "other values"),
    "no key": (HEAD[:3], ..., "wanted metric_singvals_per_head"),
    "layers": (("num_layers",), L + 2, f"wanted num_layers={L + 2} objects in static"),
    "heads": (("num_heads",), H + 1, f"wanted {H + 1} × any numbers"),
    "no heads": (("num_heads",), ..., "wanted num_heads"),
    "a count that is none": (("num_layers",), 5.0, "number of 1 or more as num_layers"),
    "not a list": (("static",), {}, "one object a layer as static"),
    "short dynamic": (("dynamic",), [{}], f"wanted num_layers={L} objects in dynamic"),
    "empty dynamic": (("dynamic",), [{}] * L, "got neither"),
    "uneven dynamic": (("dynamic", 3, "mean_logit_std_per_head"), ..., "wanted mean_logit_std_per_head in dynamic[3]"),
    "an infinite entropy": (("dynamic", 1, "mean_attention_entropy_per_head", 0), math.inf, "finite numbers"),
    "a negative entropy": (("dynamic", 1, "mean_attention_entropy_per_head", 0), -1.0, "no negative entropy"),
    "layer numbers": (("layers",), [0, 2, 1, 3, 4], "rising layer numbers"),
    "operator": (("operator",), "Metric", "wanted head_product, metric"),
}
BAD_GRAMS = {
    "shape": (("gram",), [[[1.0] * H] * L] * (L - 1), f"wanted {L} × {L} × {H} numbers in gram"),
    "not symmetric": (("gram", 0, 3, 1), 9e9, "gram[l][m][h] = gram[m][l][h]"),
    "negative norm": (("gram", 2, 2, 1), -1.0, "no negative gram[l][l][h]"),
    "fro_sq": (("fro_sq",), [[1.0] * (H + 1)] * L, f"wanted {L} × {H} numbers in fro_sq"),
    "no fro_sq": (("fro_sq",), ..., "wanted fro_sq"),
    "no hidden": (("hidden_size",), ..., "wanted hidden_size"),
    "head_dim": (("head_dim",), C + 1, f"wanted {H} × {2 * C + 2} numbers in sym_eigs[0]"),
    "hidden_size": (("hidden_size",), D + 1, "numbers in eig_dirs"),
    "no such .pt": (("eigdirs_path",), "sub/gone.pt", "wanted gone.pt beside"),
    "no path": (("eigdirs_path",), 3, "the path of a .pt as eigdirs_path"),
}


@pytest.mark.parametrize("case", BAD_SPECTRA)
def test_bad_spectra(ingest, write, tmp_path, case):
    path, to, said = BAD_SPECTRA[case]
    refused(ingest, tmp_path, write("bad.json", changed(Model().spectra(), *path, to=to)), said)


@pytest.mark.parametrize("case", BAD_GRAMS)
def test_bad_grams(ingest, write, tmp_path, case):
    path, to, said = BAD_GRAMS[case]
    write("dirs.pt", Model().tensors())
    refused(ingest, tmp_path, write("bad.json", changed(Model().grams(), *path, to=to)), said)


@pytest.mark.parametrize("named", ["../dirs.pt", "{folder}/dirs.pt"])
def test_a_pt_that_lies_elsewhere(ingest, write, tmp_path, named):
    """Only what is beside the JSON, or below, is read."""
    write("dirs.pt", Model().tensors())
    (tmp_path / "sub").mkdir()
    path = write("sub/a.json", Model().grams() | {"eigdirs_path": named.format(folder=tmp_path)})
    refused(ingest, tmp_path, path, "wanted dirs.pt beside")
    path = write("a.json", Model().grams() | {"eigdirs_path": "sub/dirs.pt"})
    (tmp_path / "dirs.pt").rename(tmp_path / "sub" / "dirs.pt")
    assert ingest(path)[0] == 0


def test_a_gram_that_no_operators_have(ingest, write, tmp_path):
    content = Model().grams()
    content["gram"][0][3][1] = content["gram"][3][0][1] = 9e9
    refused(ingest, tmp_path, write("bad.json", content), "no |gram[l][m]| above")


@pytest.mark.parametrize(
    ("name", "to", "said"),
    [
        ("eig_dirs", ..., "there is no eig_dirs"),
        ("sym_eigs", torch.zeros(L, H), "numbers in sym_eigs"),
        ("sym_eigs", torch.zeros(L + 1, H, 2 * C), f"wanted {L} layers in sym_eigs"),
        ("eig_dirs", [1.0], "there is no eig_dirs"),
        ("sym_eigs", torch.zeros(L, H, 2 * C, dtype=torch.complex64), "other values"),
        ("sym_eigs", torch.arange(L * H * 2 * C).reshape(L, H, 2 * C), "falling magnitude"),
        ("eig_dirs", torch.ones(L, H, TOPK, D), "orthonormal vectors"),
        ("eig_dirs", torch.full((L, H, TOPK, D), math.nan), "finite numbers in eig_dirs"),
    ],
)
def test_a_bad_pt(ingest, write, tmp_path, name, to, said):
    write("dirs.pt", changed(Model().tensors(), name, to=to))
    refused(ingest, tmp_path, write("bad.json", Model().grams()), said)


def refused(ingest, tmp_path, path, said, *arguments):
    status, told = ingest(path, *arguments)
    assert status == 1, told
    assert told.startswith("error: ") and said in told
    assert len(told) < 400
    assert not (tmp_path / "warehouse.duckdb").exists()


def test_what_is_no_measurement_file(ingest, write, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"static": [')
    refused(ingest, tmp_path, broken, "wanted JSON in")
    refused(ingest, tmp_path, write("list.json", [1]), "wanted a JSON object")
    refused(ingest, tmp_path, write("config.json", {"model_type": "llama"}), "for a model give its folder")
    refused(ingest, tmp_path, tmp_path / "gone.json", "there is no such file")
    (tmp_path / "dirs.pt").write_bytes(b"no zip")
    refused(ingest, tmp_path, write("bad.json", Model().grams()), "wanted tensors in")


def test_options_that_do_not_go_together(ingest, write, tmp_path):
    path = write("fine.json", Model().spectra())
    refused(ingest, tmp_path, path, "wanted a NAME", "--name", "a#b")
    refused(ingest, tmp_path, write("a@b.json", Model().spectra()), "the file's own name")
    refused(ingest, tmp_path, path, "want OPERATOR=head_product", "--operator", "Metric")
    refused(ingest, tmp_path, path, "REVISION goes with a model", "--revision", "main")
    refused(ingest, tmp_path, path, "DYNAMIC_ONLY goes with a model", "--dynamic-only")
    refused(ingest, tmp_path, write("g.json", Model().grams()), "are of the metric", "--operator", "head_product")
    refused(ingest, tmp_path, tmp_path, "OPERATOR goes with a measurement .json", "--operator", "metric")


def test_heads_without_a_number(ingest, ask, write):
    """null or NaN in dynamic is null in the warehouse; one of the two keys may be missing throughout."""
    content = Model().spectra()
    content["dynamic"] = [{"mean_logit_std_per_head": [0.5, None, math.nan]} for _ in range(L)]
    assert ingest(write("a.json", content))[0] == 0
    assert ask("select head, count(logit_std), count(entropy_nats) from head_attention group by all order by all") == [
        (0, L, 0), (1, 0, 0), (2, 0, 0),
    ]  # fmt: skip


# --- export ---


def test_round_trip(ingest, export, files):
    model, spectra, grams = files
    for path in (spectra, grams):
        ingest(path)
    status, out, said = export("old")
    assert status == 0
    assert said == "effective ranks left out: there are no spectra of whole weights\n"
    assert sorted(path.name for path in out.iterdir()) == ["old.eigdirs.pt", "old.gram.json", "old.spectra.json"]
    theirs, ours = model.spectra(), json.loads((out / "old.spectra.json").read_text())
    assert ours.keys() == theirs.keys()
    for part, key in (
        ("static", "metric_singvals_per_head"),
        ("dynamic", "mean_attention_entropy_per_head"),
        ("dynamic", "mean_logit_std_per_head"),
    ):
        assert [layer.keys() for layer in ours[part]] == [layer.keys() for layer in theirs[part]]
        one, other = (np.array([layer[key] for layer in content[part]]) for content in (ours, theirs))
        assert one == pytest.approx(other, rel=REL)
    theirs, ours = model.grams(), json.loads((out / "old.gram.json").read_text())
    assert ours | {"gram": 0, "fro_sq": 0} == theirs | {"gram": 0, "fro_sq": 0, "eigdirs_path": "old.eigdirs.pt"}
    for key in ("gram", "fro_sq"):
        assert np.array(ours[key]) == pytest.approx(np.array(theirs[key]), rel=REL)
    theirs, ours = model.tensors(), torch.load(out / "old.eigdirs.pt", weights_only=True)
    assert ours["sym_eigs"].numpy() == pytest.approx(theirs["sym_eigs"].numpy(), rel=REL)
    peaks = theirs["eig_dirs"].gather(3, theirs["eig_dirs"].abs().argmax(3, keepdim=True)).sign()
    assert ours["eig_dirs"].numpy() == pytest.approx((theirs["eig_dirs"] * peaks).numpy(), abs=1e-7)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    experiment_fixture.build(folder / "toys.duckdb", folder / "staged")
    return folder / "toys.duckdb"


VIEWS = {
    "shape_cosines": "head, layer, other_layer, cosine",
    "head_descriptors": "layer, head, effective_rank, op_norm, condition_number",
}


@pytest.mark.parametrize(("toy", "operator"), [("org/main", "head_product"), ("org/zero", "metric")])
def test_a_measured_model_goes_out_and_in(ingest, ask, export, toys, toy, operator):
    told = ("--prompt-set", "std@0a1b2c3d", "--operator", operator)
    status, out, said = export(toy, *told, warehouse=toys)
    assert (status, said) == (0, "")
    stem = toy.replace("/", "--")
    for kind in ("spectra", "gram"):
        status, said = ingest(out / f"{stem}.{kind}.json", "--name", "again")
        assert status == 0, said
    with duckdb.connect(str(toys), read_only=True) as con:
        for view, columns in VIEWS.items():
            sql = f"select {columns} from {view} where model_id = '{{}}' and operator = '{operator}' order by all"
            compare(ask(sql.format("again")), con.execute(sql.format(toy)).fetchall())
        sql = (
            "select layer, head, entropy_nats, logit_std from head_attention where model_id = '{}' and {} order by all"
        )
        wanted = con.execute(sql.format(toy, "prompt_set = 'std@0a1b2c3d'")).fetchall()
        compare(ask(sql.format("again", "prompt_set = 'imported'")), wanted)
    [[name]] = ask("select distinct operator from singular_values")
    assert name == operator


def compare(found, wanted):
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            assert ours == (pytest.approx(theirs, rel=REL) if isinstance(theirs, float) else theirs)


def test_effective_ranks(export, toys):
    toy = experiment_fixture.BY_ID["org/experts"]
    status, out, said = export("org/experts", "--prompt-set", "odd@ffffffff", warehouse=toys)
    assert status == 0
    assert said == "30 experts' weights left out of the effective ranks: the format has no word for an expert\n"
    rows = list(csv.DictReader(io.StringIO((out / "org--experts.effective_ranks.csv").read_text())))
    assert list(rows[0]) == ["layer_idx", "weight_type", "shape", "eff_rank"]
    assert [(int(row["layer_idx"]), row["weight_type"], row["shape"]) for row in rows] == [
        (layer, "W_down", "17x13") for layer in range(5)
    ]
    for row in rows:
        sigma = toy.weight_sigma[int(row["layer_idx"]), "down", 0]
        shares = [value / math.fsum(sigma) for value in sigma]
        wanted = math.exp(-math.fsum(p * math.log(p) for p in shares if p))
        assert float(row["eff_rank"]) == pytest.approx(wanted, rel=1e-9)


def test_a_model_whose_layers_differ(export, toys):
    """One number of heads cannot say it; what can be said is written."""
    status, out, said = export("org/hybrid", "--prompt-set", "odd@ffffffff", warehouse=toys)
    assert status == 0
    assert said.splitlines() == [
        f"{part} left out: its layers have 2 to 3 heads; the format has one number" for part in ("spectra", "grams")
    ]
    assert [path.name for path in out.iterdir()] == ["org--hybrid.effective_ranks.csv"]


def test_layers_that_are_not_measured(ingest, ask, export, tmp_path):
    """The file's lists hold the measured ones; `layers` says which they are, and our import reads it."""
    toy = experiment_fixture.make("org/gaps", 9, (7, 2, 3, 13), unmeasured=(0, 3, 6), attends=False)
    experiment_fixture.build(tmp_path / "gaps.duckdb", tmp_path / "staged", [toy])
    status, out, said = export("org/gaps", warehouse=tmp_path / "gaps.duckdb")
    assert status == 0 and said == "dynamic left out of the spectra: no prompts were measured\n"
    told = json.loads((out / "org--gaps.spectra.json").read_text())
    assert (told["num_layers"], told["layers"], len(told["static"])) == (4, [1, 2, 4, 5], 4)
    for kind in ("spectra", "gram"):
        assert ingest(out / f"org--gaps.{kind}.json", "--name", "again")[0] == 0
    assert ask("select layer, position from measured_layers order by layer") == [(1, 0), (2, 1), (4, 2), (5, 3)]
    assert ask("select layer from layers where not is_measured order by layer") == [(0,), (3,)]
    rows = ask("select head, layer, other_layer, gram from grams order by all")
    assert rows == [(*at, pytest.approx(gram, rel=1e-12)) for at, gram in sorted(toy.gram.items())]


@pytest.mark.parametrize(("shape", "n_values"), [((3, 2, 5, 7), 7), ((1, 1, 2, 7), 4)])
def test_shapes_at_the_edge(ingest, ask, export, tmp_path, shape, n_values):
    """2 head_dim above hidden_size: the format pads with zeros, the table doesn't. One layer: no pairs."""
    toy = experiment_fixture.make("edge", 9, shape, attends=False)
    experiment_fixture.build(tmp_path / "edge.duckdb", tmp_path / "staged", [toy])
    status, out, _ = export("edge", warehouse=tmp_path / "edge.duckdb")
    assert status == 0
    padded = torch.load(out / "edge.eigdirs.pt", weights_only=True)["sym_eigs"]
    assert padded.shape == (shape[0], shape[1], 2 * shape[2])
    assert not padded[..., n_values:].any()
    assert ingest(out / "edge.gram.json", "--name", "again")[0] == 0
    rows = ask("select layer, head, k, eigenvalue from eigenvalues order by all")
    assert rows == [(*at, k, value) for at, values in toy.eigenvalue.items() for k, value in enumerate(values)]
    assert {row[2] for row in rows} == set(range(n_values))
    cosines = ask("select head, layer, other_layer, list(cosine order by k) from principal_cosines group by all")
    assert sorted(cosines) == [(*at, pytest.approx(values, abs=2e-6)) for at, values in sorted(toy.cosine.items())]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("org/mian",), "no model org/mian in the warehouse; did you mean org/main"),
        (("org/main",), "2 prompt sets; give PROMPT_SET=one of odd@ffffffff, std@0a1b2c3d"),
        (("org/main", "--prompt-set", "std"), "no prompt set std; it has odd@ffffffff, std@0a1b2c3d"),
        (("org/silent", "--operator", "metric_folded"), "no singular values of metric_folded; it has head_product"),
        (("",), "wanted MODEL=<models of the warehouse> and OUT=<folder>"),
    ],
)
def test_refused_exports(export, toys, arguments, said):
    status, out, told = export(*arguments, warehouse=toys)
    assert status == 1 and told.startswith("error: ") and said in told
    assert not out.exists()


def test_a_model_without_layers(export, warehouse):
    """Spectra alone were loaded: nothing says which layers they are of."""
    status, out, told = export("org/static", warehouse=warehouse)
    assert status == 1 and "no row for any of its layers" in told and "there is nothing to export" in told
    assert not out.exists()


def test_a_folder_that_is_none(export, toys, tmp_path):
    (tmp_path / "out").write_text("a file")
    status, _, told = export("org/silent", warehouse=toys)
    assert status == 1 and "cannot write into" in told


def test_the_standard_prompts_go_before_others(export, tmp_path):
    load = warehouse_fixture.stack(
        "two",
        warehouse_fixture.staged(
            tmp_path / "two",
            singular_values=warehouse_fixture.singular_values(1, 3, 5),
            layers=experiment_fixture.frames(experiment_fixture.make("x", 1, (3, 5, 7, 11)))["layers"],
            attention_stats=warehouse_fixture.attention_stats(1, {"mine@00000000": 1, "standard@0a1b2c3d": 2}),
        ),
    )
    store.load(tmp_path / "warehouse.duckdb", [load], {}, force=False)
    status, out, _ = export("two")
    assert status == 0
    told = json.loads((out / "two.spectra.json").read_text())
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as con:
        sql = "select entropy_nats from head_attention where prompt_set like 'standard@%' order by layer, head"
        wanted = [row[0] for row in con.execute(sql).fetchall()]
    assert [value for layer in told["dynamic"] for value in layer["mean_attention_entropy_per_head"]] == wanted
