"""What `make bench` measures with: checkpoints of a shape, a floor, a page; no test here asserts a time."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import duckdb
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench import device, floor, growth, page, performance, processes, random_checkpoint, revision, timing
from bench.rows.row import NotRun, Pair, Row
from bench.same_rows import compared
from bench.setting import Short
from eigenhouse.ingest.runs import run
from eigenhouse.ingest.sources.prompts import read_prompts
from eigenhouse.options import Ingest

TINY = random_checkpoint.SHAPES["tiny"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_checkpoint.write(tmp_path_factory.mktemp("random"), TINY)


def test_a_random_checkpoint_fills_every_parameter(checkpoint):
    """transformers' own loader misses nothing, finds nothing to spare, and counts what the shape says."""
    model, report = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True)
    assert {name: keys for name, keys in report.items() if keys} == {}
    assert model.dtype == torch.bfloat16 and len(model.model.layers) == TINY.n_layers
    counted = sum(p.numel() for name, p in model.model.layers[1].named_parameters() if "norm" not in name)
    assert counted == TINY.layer_parameters == 44 * (2 * 10 * (4 + 2) + 3 * 26)


def test_a_random_checkpoint_is_a_file_a_layer(checkpoint):
    """So that no more than a layer is in memory when it is written; layers differ, gains aren't one."""
    index = json.loads((checkpoint / "model.safetensors.index.json").read_text())["weight_map"]
    files = [load_file(checkpoint / name) for name in sorted(set(index.values()))]
    assert [len(tensors) for tensors in files] == [11, 11, 11, 2]
    first, second = (files[n][f"model.layers.{n}.self_attn.q_norm.weight"].float() for n in (0, 1))
    assert 0.01 < first.std() < 1 and not torch.equal(first, second)


def test_a_random_checkpoint_knows_the_words_of_the_standard_prompts(checkpoint):
    """Unknown words would all be one token, and every position's state the same."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokens = {number for text in read_prompts().texts for number in tokenizer(text)["input_ids"]}
    assert tokenizer.unk_token_id not in tokens and len(tokens) > 2000


# --- the floor ---


def test_the_floor_is_what_a_hand_counts():
    """2 layers and so one pair, d = 7, 4 heads on 2 key heads of 3 features, w = 6, ffn 5; `folded` has new columns."""
    shape = random_checkpoint.Shape(n_layers=2, hidden=7, n_heads=4, n_kv_heads=2, head_dim=3, ffn=5)
    counted = [(term.stage, term.dtype, term.flops) for term in floor.terms(shape, ["folded", "rope_1"])]
    assert counted == [
        ("spectra", "float64", 2 * 6 * 9 * 7),
        ("spectra", "float64", 1008),
        ("spectra", "float64", 108),
        ("spectra", "float64", pytest.approx(4680)),
        ("spectra", "float64", pytest.approx(576)),
        ("spectra", "float64", 17280),
        ("subspaces", "float64", 24192),
        ("grams", "float64", 756 + 72),
        ("subspaces", "float32", 358400),
        ("subspaces", "float32", 14336),
        ("subspaces", "float64", pytest.approx(8 / 3 * 4 * 4096)),
        ("alignments", "float32", 44800),
        ("alignments", "float32", 980),
        ("alignments", "float32", 15680),
        ("alignments", "float32", 3136),
        ("variants", "float64", 1764),
        ("variants", "float64", pytest.approx(9720)),
        ("variants", "float64", 828),
        ("weights", "float64", 2 * (2 * 588 + 2 * 252 + 3 * 175)),
        ("weights", "float64", pytest.approx(2 * 4 / 3 * (2 * 343 + 2 * 216 + 3 * 125))),
    ]


def test_one_layer_has_no_others():
    """No pairs of layers, no chance of an alignment over other layers."""
    terms = floor.terms(TINY.deep(1), ["folded"], weights=False)
    none = [term.what for term in terms if term.flops == 0]
    assert len(none) == 7 and not [term for term in terms if term.stage == "weights"]


def test_seconds_are_operations_by_the_rate_of_their_dtype():
    terms = [floor.Term("a", "", "", "float64", 6.0), floor.Term("a", "", "", "float32", 8.0)]
    rates = floor.Rates({"float64": 2.0, "float32": 4.0}, reading=44.0)
    assert floor.seconds(terms, TINY, rates) == {"reading": 3 * 2 * 198, "a": 3.0 + 2.0}


# --- measuring ---


def test_turns_are_taken_and_the_best_of_each_counts(monkeypatch):
    clock = iter([0, 5, 5, 12, 20, 23, 30, 39])  # ours 5 and 3, theirs 7 and 9
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    order = []
    found = timing.side_by_side(lambda: order.append("ours"), lambda: order.append("theirs"), rounds=2)
    assert found == (3, 7) and order == ["ours", "theirs", "ours", "theirs"]


def test_a_reach_is_of_theirs_by_ours_or_of_ours_by_theirs():
    pair, named = Pair(2.0, 10.0), {"name": "", "what": "", "against": "", "measure": None}
    assert Row(**named, at_least=5).result(pair)["ratio"] == 5 and Row(**named, at_least=5).result(pair)["is_reached"]
    assert not Row(**named, at_least=5.1).result(pair)["is_reached"]
    assert (
        Row(**named, at_most=0.2).result(pair)["ratio"] == 0.2 and Row(**named, at_most=0.2).result(pair)["is_reached"]
    )
    assert not Row(**named, at_most=0.1).result(pair)["is_reached"]
    with pytest.raises(ValueError, match="one of the two"):
        Row(**named)


def test_a_process_has_its_own_peak(tmp_path):
    """What it holds, not what it might; and of this process, which is larger by torch alone, nothing is in it."""
    hold = "import mmap, time; might = mmap.mmap(-1, 2**30); held = b'1' * 64 * 2**20; time.sleep(0.1)"
    command = [sys.executable, "-c", hold]
    _, peak = processes.ran(command, tmp_path, {})
    assert 64 < peak < 128


def test_a_process_that_fails_says_why(tmp_path):
    with pytest.raises(NotRun, match="it failed with status 3: first / second"):
        processes.ran(
            [sys.executable, "-c", "import sys; print('first\\nsecond', file=sys.stderr); sys.exit(3)"], tmp_path, {}
        )


def test_a_revision_is_a_worktree_while_it_is_needed(tmp_path, monkeypatch):
    """Of the program before it had a package: `python -m ingest`."""
    repository = tmp_path / "repository"
    (repository / "ingest").mkdir(parents=True)
    (repository / "ingest" / "__main__.py").write_text("old = 1")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(revision, "ROOT", repository)
    with revision.worktree("HEAD", tmp_path) as path:
        assert processes.module_of(path) == "ingest" and processes.module_of(processes.ROOT) == "eigenhouse"
        (path / "ingest" / "changed").touch()
    assert not path.exists()
    assert len(subprocess.check_output([*git, "worktree", "list"]).splitlines()) == 1
    with pytest.raises(NotRun, match="git worktree: .*nowhere"), revision.worktree("nowhere", tmp_path):
        pass


# --- rows and page ---


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    with Short(tmp_path_factory.mktemp("short")) as setting:
        rows = [row for row in performance.ROWS.values() if not row.is_long]
        return dict(performance.measured(setting, rows))


def test_every_row_is_made(short):
    """But for those that need peers, packaged models, a GPU or many cores."""
    elsewhere = {"head_transformer_lens", "weights_weightwatcher", "default_model", "gguf_seconds", "gguf_memory"}
    missing = {name for name, row in short.items() if "not_run" in row}
    assert (
        elsewhere <= missing <= elsewhere | {"attention_gpu", "cores_1_2", "cores_2_16", "load_seconds", "load_bytes"}
    )
    assert all(row["ours"] > 0 and row["theirs"] > 0 and row["ratio"] > 0 for row in short.values() if "ratio" in row)
    assert {*short["static_floor"]["detail"]["floor"]} == {*short["static_weights"]["detail"]["ours"], "reading"} - {
        "factors"
    }


def test_the_page_shows_every_row(short):
    shown = page.page({"rows": short, "growth": {}})
    assert [name for name in short if f"| `{name}` |" not in shown] == []
    assert all(row["not_run"] in shown for row in short.values() if "not_run" in row)
    assert shown.endswith(page.NOTES.read_text(encoding="utf-8"))


def test_growth_is_a_point_for_each_size(tmp_path, monkeypatch):
    sizes = {"LAYERS": (2,), "HEADS": (4,), "HIDDEN": (44,), "MODELS": (), "TOKENS": (5, 7)}
    for name, values in sizes.items():
        monkeypatch.setattr(growth, name, values)
    with Short(tmp_path) as setting:
        points = list(growth.points(setting, TINY.deep(2)))
    assert [(each["axis"], each["value"]) for each in points] == [
        ("layers", 2), ("heads", 4), ("hidden size", 44), *(("tokens of each of 4 prompts", n) for n in (5, 7)),
    ]  # fmt: skip
    found = {"points": points, "machine": "m", "measured_at": "t", "code": "c"}
    assert "| layers | 2 |" in page.page({"rows": {}, "growth": found})


def test_the_page_is_what_was_measured():
    found = page.results()
    assert page.PAGE.read_text(encoding="utf-8") == page.page(found), f"write it anew: {page.COMMAND}"
    assert found["rows"].keys() <= performance.ROWS.keys()


# --- devices ---


def ingest_here(model, device, house):
    run.ingest(Ingest(model=model, device=device, warehouse=house, prompts=random_prompts(house.parent)))
    stages, variants = processes.told(house)
    return processes.Ingested(1.0, stages, 1.0, variants)


def random_prompts(folder):
    """Two short texts in words that a random checkpoint has."""
    path = folder / "short.txt"
    path.write_text("\n".join(" ".join(text.split()[:40]) for text in read_prompts().texts[:2]))
    return path


@pytest.fixture(scope="module")
def two_houses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    with pytest.MonkeyPatch.context() as patch:  # no other process, and no user's cache, has these runs
        patch.setenv("EIGENHOUSE_CACHE", str(folder / "cache"))
        is_same = device.run(folder, TINY.deep(2), ["cpu", "cpu"], ingest_here)
    return is_same, *sorted(folder.glob("*.duckdb"))


def test_a_device_fills_every_table_as_it_did_before(two_houses):
    """Every table that an ingest fills is compared; `attention_stats` too."""
    is_same, one, other = two_houses
    assert is_same
    filled = {each.table for each in compared(one, other) if each.n_rows}
    assert filled >= {"attention_stats", "grams", "weight_singular_values", "prompts", "eigenvectors", "head_matches"}


def test_a_difference_is_found(two_houses, tmp_path):
    """One in each of six tables, of numbers, lists, nulls, choices, texts and rows. A small head counts as a large."""
    one, other = (shutil.copy(house, tmp_path / house.name) for house in two_houses[1:])
    for house in (one, other):
        with duckdb.connect(str(house)) as con:
            con.execute("update singular_values set sigma = sigma * 1e-6 where layer = 1 and head = 2")
    with duckdb.connect(str(other)) as con:
        con.execute("update singular_values set sigma = sigma * 1.0001 where layer = 1 and head = 2 and k = 0")
        con.execute("update eigenvectors set vector = list_transform(vector, lambda x: -x) where layer = 1 and k = 3")
        con.execute("update attention_stats set entropy_nats = null where layer = 1 and head = 2")
        con.execute("update head_matches set other_head = 9 where layer = 1")
        con.execute("update prompts set text = text || '.'")
        con.execute("delete from grams where layer = 0 and other_layer = 1 and head = 3")
    assert {(each.table, each.column) for each in compared(one, other) if not each.is_same} == {
        ("singular_values", "sigma"), ("eigenvectors", "vector"), ("attention_stats", "entropy_nats"),
        ("head_matches", "other_head"), ("prompts", "text"), ("grams", "rows"),
    }  # fmt: skip
