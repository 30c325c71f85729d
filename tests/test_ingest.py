"""`python -m ingest` as a user runs it, on tiny checkpoints: rows, resume, idempotence, refusals."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny_models
import torch
import transformers

from eigenhouse.ingest.capture import kernel as capture
from eigenhouse.ingest.models import fitting
from eigenhouse.ingest.runs import plan, provenance
from eigenhouse.ingest.runs import run as run_module
from eigenhouse.ingest.runs.folder import RunFolder
from eigenhouse.ingest.stages import declaration, factors, grams, spectra
from eigenhouse.ingest.stages.writer import TableWriter
from eigenhouse.stopping import Stop


def stop(*_):
    raise Stop


@pytest.fixture
def ingest(own_warehouse):
    """Runs the command line, without what other tests are about; gives exit status and what it printed."""

    def run(model, *arguments, weights=False):
        own_warehouse.told = ("--variants", "none", *([] if weights else ["--no-weights"]))
        return own_warehouse.run(model, *arguments)

    return run


def weights(folder, kind, layer):
    """W_Q and W_K by head straight from the tiny model, (head, feature, hidden) each, groups shared out."""
    model = tiny_models.build(kind, attention="eager")
    attention = model.layers[layer].self_attn
    config = model.config
    w_q = attention.q_proj.weight.reshape(config.num_attention_heads, -1, config.hidden_size).double().numpy()
    w_k = attention.k_proj.weight.reshape(config.num_key_value_heads, -1, config.hidden_size).double().numpy()
    return w_q, np.repeat(w_k, len(w_q) // len(w_k), axis=0)


def test_every_number_against_the_dense_metric(ingest, ask, tmp_path):
    """Grouped heads, head_dim not d/H, q/k-norm: what is stored is of W_Kᵀ W_Q as the projections apply it."""
    kind = "qk-norm, head_dim not d/H"
    folder = tiny_models.save(kind, tmp_path / "tiny")
    status, _ = ingest(folder, "--prompts", tiny_models.prompts(tmp_path, 11, 1, 5))
    assert status == 0
    metrics = {}
    for layer in (0, 1):
        w_q, w_k = weights(folder, kind, layer)
        for head in range(6):
            metrics[layer, head] = w_k[head].T @ w_q[head]
    for (layer, head), metric in metrics.items():
        at = f"layer = {layer} and head = {head}"
        sigma = [
            row[0] for row in ask(f"select sigma from singular_values where operator = 'metric' and {at} order by k")
        ]
        assert sigma == pytest.approx(np.linalg.svd(metric, compute_uv=False)[:10], rel=1e-5)
        dense = np.linalg.eigvalsh((metric + metric.T) / 2)
        dense = dense[np.argsort(-np.abs(dense))][:20]
        values = [
            row[0] for row in ask(f"select eigenvalue from eigenvalues where operator = 'metric' and {at} order by k")
        ]
        assert values == pytest.approx(dense, rel=1e-4)
        vector = np.array(ask(f"select vector from eigenvectors where {at} and k = 0")[0][0])
        assert (metric + metric.T) @ vector / 2 == pytest.approx(dense[0] * vector, abs=1e-4 * abs(dense[0]))
        [(fro_sq, trace)] = ask(f"select metric_fro_sq, trace from head_norms where operator = 'metric' and {at}")
        assert (fro_sq, trace) == pytest.approx((np.sum(metric**2), np.trace(metric)), rel=1e-6)
    for head, layer, other, gram in ask("select head, layer, other_layer, gram from grams where operator = 'metric'"):
        assert gram == pytest.approx(np.sum(metrics[layer, head] * metrics[other, head]), rel=1e-6)
    for head, layer, other, gram in ask(
        "select head, layer, other_layer, gram from spectral_grams where operator = 'metric'"
    ):
        spectra = [np.linalg.svd(metrics[at, head], compute_uv=False)[:10] for at in (layer, other)]
        assert gram == pytest.approx(np.dot(*spectra), rel=1e-6)
    shapes = ask("select hidden_size, head_dim, count(distinct sample), count(*) from null_spectra group by all")
    assert shapes == [(48, 10, 16, 160)]
    [row] = ask(
        "select n_layers, n_heads, n_kv_heads, head_dim, hidden_size, ffn_size, has_qk_norm, has_qk_bias from models"
    )
    assert row == (2, 6, 2, 10, 48, 40, True, False)
    [(scale, positions)] = ask("select attention_scale, position_encoding from models")
    assert scale == pytest.approx(10**-0.5) and positions == "rope"
    assert ask("select max(max_rel_error) < 1e-5, count(*) from conformance") == [(True, 12)]
    # prompts of 11, 1 and 5 tokens; the one-token prompt has no spread to tell
    assert ask(
        "select prompt, n_queries, n_multi_queries, count(*), count(logit_std) from attention_stats "
        "group by all order by all"
    ) == [
        (0, 11, 10, 12, 12),
        (1, 1, 0, 12, 0),
        (2, 5, 4, 12, 12),
    ]


def test_padding_and_batching_change_nothing(ingest, ask, tmp_path):
    """The same prompt alone and in a batch with longer ones."""
    folder = tiny_models.save("encoder", tmp_path / "tiny")
    together, alone = tiny_models.prompts(tmp_path, 19, 3, 8), tmp_path / "alone.txt"
    alone.write_text(together.read_text().splitlines()[1])
    assert ingest(folder, "--prompts", together)[0] == 0
    assert ingest(folder, "--prompts", alone)[0] == 0
    sets = ask("select list(prompt_set order by prompt_set) from (select distinct prompt_set from attention_stats)")[0][
        0
    ]
    assert [name.split("@")[0] for name in sets] == ["alone", "tiny"]  # a second set stands beside the first
    by_head = "order by layer, head"
    columns = "entropy_nats, logit_std, logit_std_pooled, top1_weight, sink_weight, entropy_without_sink_nats"
    status, said = ingest(folder, "--prompts", together)
    assert status == 0 and "already ingested" in said
    rows = [
        ask(f"select {columns} from attention_stats where prompt_set = '{name}' and prompt = {prompt} {by_head}")
        for name, prompt in zip(sets, (0, 1), strict=True)
    ]
    assert np.array(rows[0]) == pytest.approx(np.array(rows[1]), abs=1e-4)


def test_halves_make_the_whole(ingest, ask, tmp_path):
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    prompts = ("--prompts", tiny_models.prompts(tmp_path, 7))
    assert ingest(folder, "--static-only", *prompts)[0] == 0
    assert ask("select count(*) from attention_stats") == [(0,)] and ask("select count(*) from grams") == [(18,)]
    static = ask("select * from singular_values order by all")
    assert ingest(folder, "--dynamic-only", *prompts)[0] == 0
    assert ask("select count(*) from attention_stats") == [(12,)]
    assert ask("select * from singular_values order by all") == static
    status, said = ingest(folder, *prompts)
    assert status == 0 and "already ingested" in said
    assert ask("select count(*) from models") == [(1,)] and ask("select count(*) from ingest_runs") == [(2,)]


def imported_to_say_already(folder, warehouse):
    """Of what takes long to import: a checkpoint that is there is told in less than a second."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from eigenhouse.ingest.command import ingest\n"
        "from eigenhouse.options import Ingest\n"
        f"told = dict(model={str(folder)!r}, name='tiny', warehouse=Path({str(warehouse)!r}))\n"
        "ingest(Ingest(**told, static_only=True, no_weights=True, variants='none'))\n"
        "print({'torch', 'transformers', 'accelerate', 'polars', 'pyarrow'} & set(sys.modules))\n"
        "print(os.environ['GOMP_SPINCOUNT'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "already ingested" in done.stderr
    return done.stdout.splitlines()


def test_already_ingested_until_forced_or_changed(ingest, ask, tmp_path):
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    static = ("--static-only", "--name", "tiny")
    assert ingest(folder, *static)[0] == 0
    before = (tmp_path / "warehouse.duckdb").read_bytes()
    assert "already ingested" in ingest(folder, *static)[1]
    assert (tmp_path / "warehouse.duckdb").read_bytes() == before
    assert imported_to_say_already(folder, tmp_path / "warehouse.duckdb") == ["set()", "20000"]
    assert ingest(folder, *static, "--force")[0] == 0
    assert ask("select count(*) from ingest_runs where status = 'done'") == [(2,)]
    # another option, another measurement of that stage alone
    assert ingest(folder, *static, "--eigenvectors", "none")[0] == 0
    assert ask("select count(*) from eigenvectors") == [(0,)] and ask("select count(*) from grams") == [(18,)]
    # other weights under the same name
    other = tiny_models.save(
        "grouped heads", tmp_path / "other", **{"model.layers.0.self_attn.k_proj.weight": torch.ones(16, 48)}
    )
    status, said = ingest(other, *static)
    assert status == 1 and "other weights" in said
    [old_key] = ask("select model_key from models")
    assert ingest(other, *static, "--force")[0] == 0
    [new_key] = ask("select model_key from models")
    assert new_key > old_key and ask("select distinct model_key from grams") == [new_key]


def test_a_stopped_ingest_goes_on(ingest, ask, tmp_path, monkeypatch, own_cache):
    (tmp_path / "warehouse.duckdb").unlink()
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    with monkeypatch.context() as patched:
        patched.setattr(grams, "grams", stop)
        with pytest.raises(Stop):
            ingest(folder, "--static-only")
    assert not (tmp_path / "warehouse.duckdb").exists()
    [run] = (own_cache / "runs").iterdir()
    finished = {path.name.split("-")[0] for path in run.iterdir() if "-" in path.name}
    assert finished == {"factors", "spectra"}
    with monkeypatch.context() as patched:
        for module, stage in ((factors, "factors"), (spectra, "spectra")):
            patched.setattr(module, stage, lambda *_: pytest.fail("a finished stage was run again"))
        status, said = ingest(folder, "--static-only")
    assert status == 0 and "going on after factors, spectra" in said
    assert ask("select count(*) from grams") == [(18,)] and not run.exists()


def raised(monkeypatch, stage):
    """As though the stage's author had raised its version."""
    now = declaration.declared()[stage]
    later = replace(now, version=now.version + 1)
    declared = {**declaration.declared(), stage: later}
    for module in (plan, run_module):
        monkeypatch.setattr(module, "declared", lambda: declared)


def test_a_raised_version_renews_just_that_stage(ingest, ask, tmp_path, monkeypatch):
    """No other code, library or option is a reason to measure again."""
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    assert ingest(folder, "--static-only")[0] == 0
    monkeypatch.setattr(provenance, "versions", lambda: {"torch": "99"})
    assert "already ingested" in ingest(folder, "--static-only")[1]
    entries = "select stage, version from ingested_stages"
    before = dict(ask(entries))
    assert before["grams"] == 1
    raised(monkeypatch, "grams")
    status, said = ingest(folder, "--static-only")
    assert status == 0 and "grams is stale: its rows are of version 1, this program measures 2" in said
    assert dict(ask(entries)) == before | {"grams": 2}
    runs = "select stages from ingest_runs order by started_at"
    assert [list(json.loads(stages)) for (stages,) in ask(runs)][1] == ["grams"]
    assert "already ingested" in ingest(folder, "--static-only")[1]


def test_a_stopped_run_takes_up_nothing_of_an_older_gate(ingest, tmp_path, monkeypatch):
    """What is staged depends on the stages that it reads too, and theirs."""
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    with monkeypatch.context() as patched:
        patched.setattr(spectra, "spectra", stop)
        with pytest.raises(Stop):
            ingest(folder, "--static-only")
    raised(monkeypatch, "factors")
    status, said = ingest(folder, "--static-only")
    assert status == 0 and "going on" not in said


def test_another_config_beside_the_same_weights_is_measured(ingest, ask, own_warehouse, tmp_path):
    """Where an older program kept no hash of it, that is no reason."""
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    assert ingest(folder, "--static-only")[0] == 0
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 7.0}))
    own_warehouse.change("update ingested_stages set config_sha256 = null where stage <> 'grams'")
    assert "already ingested" not in ingest(folder, "--static-only")[1]
    runs = "select stages from ingest_runs order by started_at"
    assert [list(json.loads(stages)) for (stages,) in ask(runs)][1] == ["grams"]


def test_two_ingests_of_the_same_weights_do_not_mix(ingest, tmp_path, own_cache):
    from eigenhouse.ingest.sources.source import weights_sha256

    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    run = own_cache / "runs" / weights_sha256(tiny_models.local_source(folder))[:16]
    with RunFolder(run, {}):
        status, said = ingest(folder, "--static-only")
    assert status == 1 and "process" in said and "already" in said


def test_a_model_that_breaks_the_gate_is_refused(ingest, tmp_path, monkeypatch):
    """Planted: the wrong head's error is above the tolerance; message names layer and head; no file is made."""
    from eigenhouse.ingest.proof import conformance

    real = conformance.Evidence.errors
    monkeypatch.setattr(
        conformance.Evidence,
        "errors",
        lambda self, factors: real(self, factors) + np.array([0, 0, 0.5, 0, 0, 0]),
    )
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    status, said = ingest(folder, "--static-only")
    assert status == 1 and "layer 0, head 2 is off by 0.5" in said
    assert not (tmp_path / "warehouse.duckdb").exists()


def test_a_kernel_that_is_not_the_models_own_measures_no_attention(ingest, ask, tmp_path, monkeypatch):
    """Planted: twice the scale. Geometry goes in, statistics don't, and the reason is told."""
    real = capture.AttentionCall
    monkeypatch.setattr(capture, "AttentionCall", lambda **given: real(**given | {"scaling": 2 * given["scaling"]}))
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    status, said = ingest(folder, "--prompts", tiny_models.prompts(tmp_path, 11, 5))
    assert status == 0 and "under its own eager attention: no attention statistics" in said
    assert ask("select count(*) from attention_stats") == [(0,)]
    [(reason,)] = ask("select reason from skipped_modules where module = 'attention_stats'")
    assert "of its tokens' hidden states are other ones" in reason
    assert ask("select count(distinct head) from singular_values") == [(6,)]


def test_a_model_that_returns_tuples_is_measured_on_text(ingest, ask, tmp_path):
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"return_dict": False}))
    assert ingest(folder, "--prompts", tiny_models.prompts(tmp_path, 11, 5))[0] == 0
    assert ask("select count(*) from attention_stats") == [(2 * 2 * 6,)]


def test_stacks_of_one_checkpoint(ingest, ask, tmp_path):
    """Encoder, decoder and cross-attention: three rows, no trace across two spaces."""
    folder = tmp_path / "tiny"
    tiny_models.randomize(
        transformers.T5ForConditionalGeneration(tiny_models.config("encoder-decoder"))
    ).save_pretrained(folder)
    tiny_models.save_tokenizer(folder)
    assert ingest(folder, "--name", "t5", "--prompts", tiny_models.prompts(tmp_path, 7, 5))[0] == 0
    assert ask("select model_id, checkpoint, stack, n_layers, n_heads from models order by 1") == [
        ("t5#cross", "t5", "cross", 2, 3),
        ("t5#decoder", "t5", "decoder", 2, 3),
        ("t5#encoder", "t5", "encoder", 2, 3),
    ]
    counts = "select stack, count(distinct operator), count(trace) from models join {} using (model_key) group by all"
    assert sorted(ask(counts.format("head_norms"))) == [("cross", 1, 0), ("decoder", 1, 6), ("encoder", 1, 6)]
    assert ask("select distinct stack from models join eigenvalues using (model_key) order by 1") == [
        ("decoder",),
        ("encoder",),
    ]
    assert ask("select stack, count(*) from models join attention_stats using (model_key) group by 1 order by 1") == [
        ("cross", 12),
        ("decoder", 12),
        ("encoder", 12),
    ]


def test_a_hybrid_tells_what_it_left_out(ingest, ask, tmp_path):
    folder = tiny_models.save("gated q_proj, hybrid", tmp_path / "tiny")
    assert ingest(folder, "--static-only")[0] == 0
    assert ask("select layer, attention_kind, is_measured, n_heads from layers order by 1") == [
        (0, "linear", False, None),
        (1, "full", True, 6),
        (2, "linear", False, None),
    ]
    modules = ask("select module, reason from skipped_modules order by 1")
    assert [module for module, _ in modules] == ["model.layers.0", "model.layers.2"]
    assert all("GatedDeltaNet" in reason for _, reason in modules)
    assert ask("select distinct layer from singular_values") == [(1,)]


def test_windows_are_told(ingest, ask, tmp_path):
    folder = tiny_models.save("qk-norm as 1+g, sliding", tmp_path / "tiny")
    assert ingest(folder, "--static-only")[0] == 0
    types = tiny_models.config("qk-norm as 1+g, sliding").layer_types
    assert ask("select layer, attention_kind, window_size from layers order by 1") == [
        (i, *(("sliding", 5) if kind.startswith("sliding") else ("full", None))) for i, kind in enumerate(types)
    ]


def test_long_prompts_are_cut_and_said_so(ingest, ask, tmp_path):
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    status, said = ingest(folder, "--dynamic-only", "--prompts", tiny_models.prompts(tmp_path, 70, 3))
    assert status == 0 and "1 of 2 prompts are longer than the model's 64 positions" in said
    assert ask("select prompt, n_queries from attention_stats group by all order by all") == [(0, 64), (1, 3)]


def tiny_with(tmp_path, **config):
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    told = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("break_it", "arguments", "said"),
    [
        (lambda folder: None, ("--device", "cuda"), "this machine offers cpu"),
        (lambda folder: None, ("--device", "tpu9"), "DEVICE"),
        (lambda folder: None, ("--eigenvectors", "some"), "EIGENVECTORS"),
        (lambda folder: None, ("--warehouse", "/no/such/folder/w.duckdb"), "folder"),
        (lambda folder: None, ("--prompts", "nowhere.txt"), "nowhere.txt"),
        (lambda folder: None, ("--revision", "main"), "REVISION|revision"),
        (lambda folder: None, ("--name", "a#b"), "#"),
        (lambda folder: None, ("--static-only", "--dynamic-only"), "got both"),
        (lambda folder: (folder / "tokenizer.json").unlink(), (), "tokenizer"),
        (lambda folder: (folder / "config.json").unlink(), (), "config"),
        (lambda folder: (folder / "model.safetensors").unlink(), (), "weights"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(
                (folder / "model.safetensors").read_bytes()[:-40]
            ),
            (),
            "truncated|bytes",
        ),
        (lambda folder: shutil.rmtree(folder), (), "no such|missing|exist"),
    ],
)
def test_refusals_are_short_and_write_nothing(ingest, tmp_path, break_it, arguments, said):
    import re

    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    break_it(folder)
    status, output = ingest(folder, *arguments)
    assert status != 0
    message = output[output.index("error: ") :]
    assert re.search(said, message, re.IGNORECASE), message
    assert "Traceback" not in output and len(message) < 500
    assert not (tmp_path / "warehouse.duckdb").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [({"model_type": "no_such_thing"}, "no_such_thing"), ({"num_attention_heads": 12}, "shape")],
)
def test_configs_that_fit_nothing(ingest, tmp_path, config, said):
    status, output = ingest(tiny_with(tmp_path, **config))
    assert status == 1 and said in output and "Traceback" not in output


def test_an_image_model_has_no_attention_on_text(ingest, ask, tmp_path):
    sizes = {"hidden_size": 42, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 40}
    vit = transformers.ViTModel(transformers.ViTConfig(**sizes, image_size=6, patch_size=3))  # five positions
    tiny_models.randomize(vit).save_pretrained(tmp_path / "vit")
    assert ingest(tmp_path / "vit")[0] == 0
    assert ask("select count(*) from conformance where max_rel_error < 1e-5") == [(6,)]
    [(reason,)] = ask("select reason from skipped_modules where module = 'attention_stats'")
    assert "takes pixel_values" in reason


def test_positions_behind_the_padding_id(ingest, ask, tmp_path):
    """RoBERTa counts positions from padding_idx + 1: 64 rows of the table hold 62 tokens."""
    config = transformers.RobertaConfig(**tiny_models.PLAIN, pad_token_id=1)
    tiny_models.randomize(transformers.RobertaModel(config)).save_pretrained(tmp_path / "roberta")
    tiny_models.save_tokenizer(tmp_path / "roberta")
    prompts = tiny_models.prompts(tmp_path, 70)
    assert ingest(tmp_path / "roberta", "--dynamic-only", "--prompts", prompts)[0] == 0
    assert ask("select distinct n_queries from attention_stats") == [(62,)]


def test_a_staged_run_of_another_name_lends_only_its_numbers(ingest, ask, tmp_path, monkeypatch):
    first = tiny_models.save("grouped heads", tmp_path / "first")
    with monkeypatch.context() as patched:
        patched.setattr(spectra, "spectra", stop)
        with pytest.raises(Stop):
            ingest(first, "--static-only")
    shutil.copytree(first, tmp_path / "second")
    status, said = ingest(tmp_path / "second", "--static-only")
    assert status == 0 and "going on after" in said
    [row] = ask("select model_id, name, checkpoint, source from models")
    assert row == ("second", "second", "second", str(tmp_path / "second"))


def test_a_full_disk_is_told(ingest, tmp_path, monkeypatch):
    import errno

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "grams.parquet")

    monkeypatch.setattr(TableWriter, "add", full)
    status, said = ingest(tiny_models.save("grouped heads", tmp_path / "tiny"), "--static-only")
    assert status == 1 and "disk is full" in said and not (tmp_path / "warehouse.duckdb").exists()


def test_the_static_pass_never_holds_a_checkpoint(ingest, tmp_path, monkeypatch):
    """STATIC_ONLY fills one attention module at a time, and transformers' whole loader is not called."""
    from eigenhouse.ingest.models import loading

    largest = 0
    real = loading.Checkpoint.read

    def counted(self, parameter):
        nonlocal largest
        held = sum(p.numel() for p in self.model.parameters() if p.untyped_storage().nbytes() > 4)
        largest = max(largest, held)
        return real(self, parameter)

    monkeypatch.setattr(loading.Checkpoint, "read", counted)
    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", lambda *_, **__: pytest.fail("whole load"))
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    assert ingest(folder, "--static-only", weights=True)[0] == 0
    one_module = 2 * 48 * 48 + 2 * 16 * 48
    assert 0 < largest <= one_module


def test_a_model_larger_than_memory_is_run_layer_by_layer(ingest, ask, tmp_path, monkeypatch):
    """The same numbers, under the same fingerprint; asked for in bfloat16 it is measured anew, and rows say so."""
    folder, prompts = tiny_models.save("grouped heads", tmp_path / "tiny"), tiny_models.prompts(tmp_path, 7, 3)
    told = (folder, "--prompts", prompts, "--device", "cpu", "--dynamic-only")
    numbers = "select * from attention_stats order by all"
    assert ingest(*told)[0] == 0
    whole = ask(numbers)
    monkeypatch.setattr(fitting, "room", lambda device: 100_000)  # the model takes 133 kB, a layer 96 to read
    status, said = ingest(*told, "--force")
    assert status == 0 and "weights are read layer by layer" in said
    assert ask(numbers) == whole and ask("select distinct dtype from attention_stats") == [("float32",)]
    monkeypatch.undo()
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    assert "already ingested" in ingest(*told)[1]
    status, said = ingest(*told, "--dtype", "bfloat16")
    assert status == 0 and "prompts are run in bfloat16" in said
    assert ask("select distinct dtype from attention_stats") == [("bfloat16",)] and ask(numbers) != whole
    assert ask("select max(max_rel_error) < 1e-5 from conformance") == [(True,)]  # proved in float32
    assert ingest(*told)[0] == 0 and ask(numbers) == whole


def test_a_layer_larger_than_memory_gives_static_geometry(ingest, ask, tmp_path, monkeypatch):
    (tmp_path / "warehouse.duckdb").unlink()
    monkeypatch.setattr(fitting, "room", lambda device: 1000)
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    status, said = ingest(folder, "--dynamic-only")
    assert status == 1 and "its largest layer takes" in said and not (tmp_path / "warehouse.duckdb").exists()
    status, said = ingest(folder)
    assert status == 0 and "no attention statistics" in said
    assert ask("select count(*) from grams") == [(18,)] and ask("select count(*) from attention_stats") == [(0,)]
    [(module, reason)] = ask("select module, reason from skipped_modules")
    assert module == "attention_stats" and "with room for" in reason
    assert "already ingested" in ingest(folder)[1]


def test_a_changed_tokenizer_is_another_measurement(ingest, ask, tmp_path):
    folder = tiny_models.save("encoder", tmp_path / "tiny")
    prompts = ("--prompts", tiny_models.prompts(tmp_path, 7))
    assert ingest(folder, *prompts)[0] == 0
    before = ask("select * from attention_stats order by all")
    told = (folder / "tokenizer.json").read_text()
    swapped = told.replace('"w9": 9,', '"w9": 91,').replace('"w91": 91,', '"w91": 9,')
    (folder / "tokenizer.json").write_text(swapped)
    assert told != (folder / "tokenizer.json").read_text()
    assert "already ingested" not in ingest(folder, *prompts)[1]
    assert ask("select * from attention_stats order by all") != before


def test_forcing_a_name_leaves_no_stack_of_the_old_weights(ingest, ask, tmp_path):
    seq2seq = tmp_path / "seq2seq"
    model = transformers.T5ForConditionalGeneration(tiny_models.config("encoder-decoder"))
    tiny_models.randomize(model).save_pretrained(seq2seq)
    assert ingest(seq2seq, "--name", "it", "--static-only")[0] == 0
    assert ask("select count(*) from models") == [(3,)]
    single = tiny_models.save("grouped heads", tmp_path / "single")
    assert ingest(single, "--name", "it", "--static-only")[0] == 1
    assert ingest(single, "--name", "it", "--static-only", "--force")[0] == 0
    assert ask("select model_id from models") == [("it",)]
    assert ask("select count(distinct model_key) from singular_values") == [(1,)]


def test_revisions_are_ingested_one_by_one(ingest, monkeypatch):
    """Each once, in the order given; REVISION beside them is a contradiction."""
    seen = []
    monkeypatch.setattr(run_module, "ingest", lambda options: seen.append((options.model, options.revision)))
    assert ingest("org/run", "--revisions", "step0, step7,step0")[0] == 0
    assert seen == [("org/run", "step0"), ("org/run", "step7")]
    status, said = ingest("org/run", "--revisions", "step0", "--revision", "main")
    assert status == 1 and "want REVISION or REVISIONS, got both: main and step0" in said
    assert ingest("org/run", "--revision", "main")[0] == 0 and seen[2:] == [("org/run", "main")]


def test_a_training_run_is_drawn_against_its_steps(ingest, ask, tmp_path):
    """Checkpoints in one folder; the later one's keys are doubled, which only scales every metric."""
    doubled = {
        name: 2 * value
        for name, value in tiny_models.build("grouped heads", causal=True).state_dict().items()
        if "k_proj" in name
    }
    for step, changes in ((5, {}), (40, doubled)):
        tiny_models.save("grouped heads", tmp_path / "run" / f"checkpoint-{step}", **changes)
    assert ingest(tmp_path / "run", "--revisions", "checkpoint-40,checkpoint-5", "--static-only")[0] == 0
    models = ask("select model_id, name, revision, revision_order from models order by revision_order")
    assert models == [(f"run@checkpoint-{step}", "run", f"checkpoint-{step}", step) for step in (5, 40)]
    norms = ask(
        "select revision_order, avg(op_norm), avg(effective_rank) from head_descriptors join models using (model_id) "
        "where operator = 'metric' group by all order by all"
    )
    (_, small, rank), (_, large, same_rank) = norms
    assert large == pytest.approx(2 * small, rel=1e-6) and same_rank == pytest.approx(rank, rel=1e-6)
