"""What no ingest can mean is refused in a line, soon, within memory: a part of the corpus that `make torture` walks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.bad_inputs import corpus, tiny
from bench.bad_inputs.case import Case
from bench.bad_inputs.trial import Outcome
from eigenhouse.errors import EigenhouseError, first_line, refusal
from eigenhouse.ingest.sources import config_sizes, regular
from eigenhouse.ingest.sources.shards import shards_of
from eigenhouse.visible import visible

ROOT = Path(__file__).parent.parent
TRIED = (  # one of each reader's
    "config: num_hidden_layers 10^9", "config: a llama and no more",
    "config file: lists 10,000",
    "safetensors: a header of 2^63",
    "index: an absolute", "bin: code within", "gguf: block_count 2^32-1",
    "config is a device",
    "warehouse is a fifo", "measurement: layers of 2^70",
)  # fmt: skip


def test_a_part_of_the_corpus_ends_as_it_should():
    """Each in a process of its own with 1.5 GB: a line, status 1, nothing that steers a terminal, no code run."""
    assert len(corpus()) >= 150 and all(any(part in name for name in corpus()) for part in TRIED)
    done = subprocess.run(
        [sys.executable, "-m", "bench.torture_inputs", "--only", *TRIED],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2 + len(TRIED)


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (Outcome("error: want a.json", 1, 0.1, 99), ""),
        (Outcome("error: want it", 1, 0.1, 99), "says nothing of 'a.json'"),
        (Outcome("in the warehouse", 0, 0.1, 99), "read, as if nothing were wrong"),
        (Outcome("error: want a.json", None, 20, 99), "no end after 20 s"),
        (Outcome("Traceback (most recent call last):", 1, 0.1, 99), "no refusal, but status 1"),
        (Outcome("", -9, 0.1, 99), "no refusal, but status -9"),
        (Outcome("error: want a.json, got \x1b[2J", 1, 0.1, 99), r"a control character, '\x1b'"),
        (Outcome("error: a.json\nb\nc", 1, 0.1, 99), "not one or two lines"),
        (Outcome("error: want a.json", 1, 0.1, 99, has_run_code=True), "code of the input was run"),
    ],
)
def test_a_trial_knows_a_fault(outcome, fault):
    assert outcome.fault(Case("of a file", lambda folder: [], ("a.json",))) == fault


# --- numbers of a config ---


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"num_hidden_layers": 301}, "at most 300 as num_hidden_layers"),
        ({"text_config": {"n_layer": 10**5}}, "text_config.n_layer"),
        ({"depths": [2, 10**5]}, "as depths"),
        ({"depths": [2] * 10**5}, "as depths"),
        ({"num_local_experts": 4097}, "at most 4,096 as num_local_experts"),
        ({"attention_types": [[["global"], 10**9]]}, "attention_types"),
        ({"hidden_size": -(2**60)}, "hidden_size"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"hidden_size": float("inf")}, "hidden_size"),
        ({"architectures": 5}, "architectures"),
    ],
)
def test_numbers_that_the_weights_cannot_have_are_refused(config, says):
    """Beside 300 tensors, the largest of 4,096 rows."""
    with pytest.raises(EigenhouseError, match=says):
        config_sizes.check(Path("config.json"), config, n_tensors=300, largest=4096)


def test_numbers_of_real_models_pass():
    """Mamba's limit is infinite, a rotation's base 10^11, a Llama 4 has 10^7 positions, layers may share weights."""
    config = {"time_step_limit": [0.0, float("inf")], "rope_theta": 10**11, "max_position_embeddings": 10485760}
    config |= {"eos_token_id": [128001, 128009], "num_hidden_layers": 24, "num_experts": 512, "layer_norm_eps": 1e-12}
    config_sizes.check(Path("config.json"), config | {"architectures": None}, n_tensors=20, largest=512)


# --- files ---


def test_a_shard_lies_in_its_folder_or_where_the_hub_keeps_it(tmp_path):
    """The hub's cache links a snapshot's files to its blobs; any other link out of the folder is refused."""
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "5ha256").write_bytes(b"")
    (snapshot / "a.safetensors").symlink_to("../../blobs/5ha256")
    (tmp_path / "elsewhere").write_bytes(b"")
    (snapshot / "b.safetensors").symlink_to(tmp_path / "elsewhere")
    assert shards_of(snapshot / "index.json", {"x": "a.safetensors", "y": "a.safetensors"}) == {"a.safetensors"}
    for name in ("b.safetensors", "../../blobs/../../elsewhere", "/etc/passwd", "../c"):
        with pytest.raises(EigenhouseError, match="outside"):
            shards_of(snapshot / "index.json", {"x": name})


def test_a_key_that_stands_twice_in_a_header_is_refused():
    with pytest.raises(ValueError, match="'a' twice"):
        regular.parsed('{"b": {"a": 1, "a": 2}}', each_once=True)
    assert regular.parsed('{"a": 1, "a": 2}') == {"a": 2}


# --- messages ---


def test_a_message_keeps_its_cause():
    """What stands behind a colon, on further lines, and what an error was raised from; a long one keeps its end."""
    announced = ValueError("Validation error for field 'a':\n    TypeError: expected int, got str\n\nmore")
    assert first_line(announced) == "Validation error for field 'a': TypeError: expected int, got str"
    raised = RuntimeError("cannot read it")
    raised.__cause__ = OSError("no such file")
    assert first_line(raised) == "cannot read it (no such file)"
    assert first_line(KeyError()) == "KeyError" and first_line(ValueError("x" * 999 + " the end")).endswith("the end")


def test_a_refusal_cannot_steer_a_terminal():
    """Escapes, marks that turn text round and halves of surrogates are shown; a name with lines stays on one."""
    assert visible("a\x1b]0;x\x07\x9b2J\u202eb\ud800é\t") == r"a\x1b]0;x\x07\x9b2J\u202eb\ud800é" + "\t"
    said = refusal(EigenhouseError("want a name, got a\nb\nc\x1b[2J" + "z" * 9999))
    assert said.startswith("want a name, got a\nb c\\x1b[2Jz") and said.count("\n") == 1 and len(said) < 1000


def test_the_hand_written_model_is_what_transformers_reads(tmp_path):
    """Else the corpus would be refused for another reason than the one that it is made for."""
    from eigenhouse.ingest.sources.locate import resolve

    assert resolve(str(tiny.folder(tmp_path / "m"))).n_tensors == 20
    assert resolve(str(tiny.sharded(tmp_path / "s"))).n_tensors == 20
    assert resolve(str(tiny.gguf_file(tmp_path / "m.gguf"))).n_tensors == 20
    assert json.loads((tmp_path / "m" / "config.json").read_text()) == tiny.CONFIG
