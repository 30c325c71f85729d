"""MODEL becomes files: every kind of source is found, every broken one refused in two lines at most."""

import hashlib
import http.server
import json
import os
import struct
import subprocess
import sys
import textwrap
import threading
import time
import zipfile

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources import catalog, gguf_header
from eigenhouse.ingest.sources.locate import resolve
from eigenhouse.ingest.sources.source import revision_order, weights_sha256
from eigenhouse.ingest.sources.weight_files import check_gguf

CONFIG = {"model_type": "llama", "hidden_size": 3}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache of our own; and no hub: what needs one says so."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache"


def tensors(first):
    return {
        f"layer.{first}.weight": np.full((11, 3), first, np.float32),
        f"layer.{first}.bias": np.ones(7, np.float32),
    }


def write_config(folder, **config):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    return folder


@pytest.fixture
def folder(tmp_path):
    """A whole model: config, tokenizer, one safetensors file."""
    place = write_config(tmp_path / "tiny")
    (place / "tokenizer.json").write_text("{}")
    save_file(tensors(1), place / "model.safetensors")
    return place


@pytest.fixture
def sharded(tmp_path):
    place = write_config(tmp_path / "sharded")
    weight_map = {}
    for number in (1, 2):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file(tensors(number), place / shard)
        weight_map |= dict.fromkeys(tensors(number), shard)
    write_index(place, weight_map)
    return place


def write_index(place, weight_map, name="model.safetensors.index.json"):
    (place / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_gguf(path, alignment=32, split=None):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(alignment)
    writer.add_array("tokens", ["a", "bc", ""])
    writer.add_array("scores", [0.5, 0.25, 0.125])
    writer.add_bool("flag", True)
    writer.add_string("a.text", "with some letters")
    if split:
        writer.add_uint16("split.count", split)
    writer.add_tensor("first", np.ones((11, 3), np.float32))
    blocks = gguf.quantize(np.ones((5, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("last", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def refusal(model, match, **options):
    """The message: it must match, and be one or two lines."""
    with pytest.raises(EigenhouseError, match=match) as caught:
        resolve(str(model), **options)
    message = str(caught.value)
    assert 1 <= len(message.splitlines()) <= 2
    return message


# --- what is found


def test_a_folder(folder):
    source = resolve(str(folder))
    assert (source.model_id, source.name, source.revision) == ("tiny", "tiny", None)
    assert (source.origin, source.kind, source.gguf_file) == (str(folder), "safetensors", None)
    assert source.folder == source.loader_path == folder
    assert source.weight_files == (folder / "model.safetensors",)
    assert source.config_file == folder / "config.json"


def test_a_name_is_taken_and_a_relative_path_is_made_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert resolve(".", name="org/mine").model_id == "org/mine"
    assert resolve(".").origin == str(folder)
    assert resolve("model.safetensors").name == "tiny"  # its folder's name
    assert resolve(str(folder.rename(folder.with_name("tiny-2.5")))).name == "tiny-2.5"


def test_shards_are_sorted_and_hashed_together(sharded):
    source = resolve(str(sharded))
    assert [path.name for path in source.weight_files] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    listed = subprocess.run(
        "sha256sum model-*.safetensors | LC_ALL=C sort | sha256sum",
        shell=True,
        cwd=sharded,
        capture_output=True,
        check=True,
    )
    assert weights_sha256(source) == listed.stdout.split()[0].decode()


def test_one_file_is_hashed_alone(folder):
    expected = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert weights_sha256(resolve(str(folder))) == expected


@pytest.mark.parametrize("is_legacy", [False, True])
def test_bin_weights(tmp_path, is_legacy):
    import torch

    place = write_config(tmp_path / "bin")
    weights = {"weight": torch.ones(3)}
    torch.save(weights, place / "pytorch_model.bin", _use_new_zipfile_serialization=not is_legacy)
    assert zipfile.is_zipfile(place / "pytorch_model.bin") != is_legacy
    source = resolve(str(place))
    assert (source.kind, source.weight_files) == ("bin", (place / "pytorch_model.bin",))


def test_sharded_bin(tmp_path):
    place = write_config(tmp_path / "bins")
    for number in (1, 2):
        with zipfile.ZipFile(place / f"pytorch_model-0000{number}-of-00002.bin", "w") as shard:
            shard.writestr("data.pkl", b"")
    index = {"a": "pytorch_model-00002-of-00002.bin", "b": "pytorch_model-00001-of-00002.bin"}
    write_index(place, index, "pytorch_model.bin.index.json")
    source = resolve(str(place))
    assert (source.kind, len(source.weight_files)) == ("bin", 2)
    (place / "pytorch_model-00001-of-00002.bin").write_bytes(b"no zip")
    refusal(place, "no zip")
    (place / "pytorch_model-00001-of-00002.bin").unlink()
    refusal(place, "1 of 2 missing, first pytorch_model-00001")


def test_safetensors_come_before_bin(folder):
    (folder / "pytorch_model.bin").write_bytes(b"a decoy")
    write_index(folder, {"a": "gone"})
    assert resolve(str(folder)).weight_files == (folder / "model.safetensors",)


def test_gguf(tmp_path):
    path = write_gguf(tmp_path / "tiny-Q8.gguf")
    source = resolve(str(path))
    assert (source.name, source.kind, source.gguf_file) == ("tiny-Q8", "gguf", "tiny-Q8.gguf")
    assert (source.loader_path, source.config_file) == (tmp_path, None)


@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_gguf_ends_where_its_reader_says(tmp_path, alignment):
    path = write_gguf(tmp_path / "tiny.gguf", alignment)
    last = max(gguf.GGUFReader(path).tensors, key=lambda tensor: tensor.data_offset)
    end = int(last.data_offset) + int(last.n_bytes)
    check_gguf(path)
    os.truncate(path, end)  # what follows is padding
    check_gguf(path)
    os.truncate(path, end - 1)
    refusal(path, f"wanted {end} bytes .* got {end - 1} ")


@pytest.mark.parametrize(
    ("file_name", "own_name"),
    [
        ("UP.GGUF", "UP"),
        ("sha256-0f3c", "sha256-0f3c"),
        ("sha256:0f3c", "sha256:0f3c"),
        ("tiny.Q4_K_M", "tiny.Q4_K_M"),
        ("ggml-model.bin", "ggml-model"),
    ],
)
def test_a_gguf_is_known_by_its_first_bytes(tmp_path, file_name, own_name):
    """Model stores keep blobs without an ending; other files without one are still refused."""
    path = write_gguf(tmp_path / file_name)
    source = resolve(str(path))
    assert (source.name, source.kind, source.gguf_file) == (own_name, "gguf", file_name)
    refusal(tmp_path, f"only GGUF files in .* get {file_name}")
    path.write_bytes(b"GGML" + path.read_bytes()[4:])
    refusal(path, "another format|pass their folder")


def test_a_gguf_beside_a_config(folder):
    """A config and a blob: which file to pass is said, and the blob is named."""
    (folder / "model.safetensors").unlink()
    write_gguf(folder / "sha256-0f3c")
    refusal(folder, "got sha256-0f3c .pass one .gguf")
    assert resolve(str(folder / "sha256-0f3c")).kind == "gguf"


def test_a_header_is_read_as_its_own_reader_reads_it(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", split=1)
    header, reader = gguf_header.read_header(path), gguf.GGUFReader(path)
    for name, stored in header.tensors.items():
        [tensor] = [tensor for tensor in reader.tensors if tensor.name == name]
        assert stored.shape == tuple(int(size) for size in tensor.shape[::-1])
        assert stored.type_name == tensor.tensor_type.name
        assert (stored.begin, stored.n_bytes) == (tensor.data_offset, tensor.n_bytes)
    assert header.keys.keys() == {name for name in reader.fields if not name.startswith("GGUF.")}
    for name, value in header.keys.items():
        theirs = reader.fields[name].contents()
        assert value == (gguf_header.Texts(3) if name == "tokens" else theirs), (
            name
        )  # of texts only their number is kept
    assert header.architecture == "llama" and header.keys["scores"] == [0.5, 0.25, 0.125]


def test_transformers_loads_exactly_the_file_that_was_named(tmp_path, cache):
    """Two finetunes in one folder, beside a model.safetensors: the view shows transformers only one."""
    import torch
    from transformers import AutoModel, BertConfig, BertModel

    sizes = {
        "hidden_size": 22,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 7,
        "vocab_size": 13,
    }
    place = tmp_path / "finetunes"
    for file_name, value in (("one", 1.0), ("two", 2.0), ("model", 3.0)):
        model = BertModel(BertConfig(**sizes))
        model.embeddings.word_embeddings.weight.data.fill_(value)
        model.save_pretrained(place)
        os.replace(place / "model.safetensors", place / f"{file_name}.weights")
    for weights in place.glob("*.weights"):
        weights.rename(weights.with_suffix(".safetensors"))
    (place / "vocab.txt").write_text("[PAD]")
    (place / "adapter_config.json").write_text("{}")
    for file_name, value in (("one", 1.0), ("two", 2.0), ("model", 3.0)):
        source = resolve(str(place / f"{file_name}.safetensors"))
        assert source.weight_files == (place / f"{file_name}.safetensors",)
        loaded = AutoModel.from_pretrained(source.loader_path).embeddings.word_embeddings.weight
        assert torch.equal(loaded, torch.full((13, 22), value))
    view = resolve(str(place / "two.safetensors"))
    assert (view.name, view.origin) == ("two", str(place / "two.safetensors"))
    assert sorted(path.name for path in view.folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    (place / "vocab.txt").unlink()
    again = resolve(str(place / "two.safetensors"))
    assert again.folder == view.folder
    assert sorted(path.name for path in view.folder.iterdir()) == ["config.json", "model.safetensors"]
    assert len(list((cache / "views").iterdir())) == 3  # the third without the adapter beside model.safetensors


def test_a_folder_with_one_file_of_another_name(folder):
    (folder / "model.safetensors").rename(folder / "tiny.safetensors")
    source = resolve(str(folder))
    assert (source.name, source.weight_files) == ("tiny", (folder / "tiny.safetensors",))
    assert (source.loader_path / "model.safetensors").resolve() == folder / "tiny.safetensors"
    save_file(tensors(2), folder / "other.safetensors")
    refusal(folder, "other.safetensors, tiny.safetensors")


def test_a_local_path_wins_over_the_catalog_and_that_over_the_hub(tmp_path, folder, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(catalog, "fetch", lambda name, say: folder)
    monkeypatch.setattr(catalog, "fetch_hub", lambda *_: pytest.fail("asked the hub"))
    fetched = resolve("minilm-l6")
    assert (fetched.name, fetched.origin, fetched.folder) == ("minilm-l6", "catalog:minilm-l6", folder)
    folder.rename(tmp_path / "elsewhere" / "minilm-l6")
    assert resolve("minilm-l6").origin == str(tmp_path / "elsewhere" / "minilm-l6")


# --- what is refused


@pytest.mark.parametrize(
    "model", ["./gone", "../gone", "~/gone", "/gone", "gone/", "x.gguf", "a/b.safetensors", "c.bin"]
)
def test_a_path_that_is_not_there(model):
    refusal(model, "no such file or folder")


@pytest.mark.parametrize("model", ["", " ", "a/b/c", "org/name@main", "org name", "org/#name", "-x", "spectra.json"])
def test_what_is_no_model(model):
    refusal(model, "a model is wanted: hub id, folder, .safetensors, .gguf, measurement .json or catalog name")


def test_a_revision_in_the_model():
    assert "REVISION=" in refusal("org/name@main", "hub id")


@pytest.mark.parametrize("name", ["", " ", "a b", "a#b", "a@b", "a\nb", "a\tb", "a\x00b", "a\u200bb", "a\u00a0b"])
def test_a_bad_name(folder, name):
    refusal(folder, "wanted a NAME", name=name)
    refusal("gpt2", "wanted a REVISION", revision=name)


@pytest.mark.parametrize("name", ["a b", "a#b", "a@b"])
def test_a_folder_whose_name_is_no_name(folder, name):
    folder = folder.rename(folder.with_name(name))
    refusal(folder, "NAME=…")
    assert resolve(str(folder), name="fine").model_id == "fine"


def test_a_revision_of_a_folder_is_a_checkpoint_in_it(folder):
    folder.rename(folder.parent / "checkpoint-20")
    source = resolve(str(folder.parent), revision="checkpoint-20")
    assert (source.model_id, source.name) == (f"{folder.parent.name}@checkpoint-20", folder.parent.name)
    assert source.folder == folder.parent / "checkpoint-20" and source.origin == str(source.folder)
    refusal(folder.parent, "got no folder .*checkpoint-3$", revision="checkpoint-3")


def test_a_revision_of_what_has_only_one(folder):
    refusal(folder, "REVISION goes with a hub id", revision="main")
    refusal(folder / "model.safetensors", "REVISION goes with a hub id", revision="main")
    refusal("smollm2-135m", "REVISION goes with a hub id", revision="main")


def test_other_files(tmp_path):
    for name in ("weights.pt", "pytorch_model.bin", "readme"):
        (tmp_path / name).touch()
        refusal(tmp_path / name, "pass their folder")


def test_config_and_weights_belong_together(folder, tmp_path):
    (folder / "config.json").rename(tmp_path / "config.json")
    refusal(folder, "weights alone, model.safetensors .copy")
    refusal(folder / "model.safetensors", "weights alone")
    (folder / "adapter_config.json").touch()
    refusal(folder, "merge it first")
    refusal(tmp_path, "a config without weights")
    (tmp_path / "empty").mkdir()
    refusal(tmp_path / "empty", "neither config.json nor weights")
    write_gguf(tmp_path / "empty" / "x.gguf")
    refusal(tmp_path / "empty", "only GGUF files .* get x.gguf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "wanted JSON"),
        ("[1]", "a list"),
        ("{}", "wanted a model_type in"),
        ('{"model_type": null}', "wanted a model_type in"),
        ('{"model_type": "eigen9000"}', "that transformers .* knows.*'eigen9000'.*newer"),
        ('{"model_type": "eigen9000", "auto_map": {}}', "TRUST_REMOTE_CODE=1"),
        ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_a_config_that_cannot_be_used(folder, text, message):
    (folder / "config.json").write_text(text)
    refusal(folder, message)
    refusal(folder / "model.safetensors", message)


def test_remote_code_when_trusted(folder):
    write_config(folder, model_type="eigen9000", auto_map={"AutoModel": "code.Model"})
    assert resolve(str(folder), trust_remote_code=True).name == "tiny"


def header_of(content, n_bytes=None):
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text) if n_bytes is None else n_bytes) + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short"),
        (b"\x01\x00", "cut short"),
        (header_of({}, 99), "a header of 99 bytes"),
        (header_of({}, 2**63), "a header of"),
        (struct.pack("<Q", 4) + b"\xff\xfe{}", "cut short"),
        (header_of([]), "cut short"),
        (header_of({"x": {"dtype": "F32"}}), "cut short"),
        (header_of({"__metadata__": {}}), "without tensors"),
        (header_of({"x": {"data_offsets": [0, 12]}}) + b"12345678901", "wanted 52 bytes .* got 51"),
        (header_of({"x": {"data_offsets": [0, 12]}}) + b"1234567890123", "wanted 52 bytes .* got 53"),
        (header_of({"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}) + b"1234", "invalid shape.*corrupt"),
        (
            header_of({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "xy"}) + b"1234",
            "invalid offset.*corrupt",
        ),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    ],
)
def test_damaged_safetensors(folder, content, message):
    (folder / "model.safetensors").write_bytes(content)
    refusal(folder, message)
    refusal(folder / "model.safetensors", message)


def test_a_cut_shard_a_missing_shard_and_a_missing_tensor(sharded):
    shard = sharded / "model-00002-of-00002.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    refusal(sharded, "model-00002-of-00002.safetensors by its own header")
    shard.unlink()
    refusal(sharded, "1 of 2 missing, first model-00002")
    save_file({"layer.2.weight": np.ones(3, np.float32)}, shard)
    refusal(sharded, "1 in no shard, first layer.2.bias")
    shard.write_bytes(whole)
    refusal(shard, "one shard of several")
    (sharded / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    refusal(sharded, "wanted a weight_map")
    (sharded / "model.safetensors.index.json").unlink()
    refusal(sharded, "the index of the shards")
    (sharded / "model-00001-of-00002.safetensors").unlink()
    refusal(sharded, "the index of the shards")  # nor is one shard alone a model


def test_damaged_gguf(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf")
    whole = path.read_bytes()
    n_header = int(gguf.GGUFReader(path).data_offset) - 32
    for n_bytes in range(0, n_header, 7):  # cut anywhere in the header
        path.write_bytes(whole[:n_bytes])
        refusal(path, "wanted (a )?GGUF")
    for damaged in (b"GGML" + whole[4:], b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(damaged)
        refusal(path, "another format|git lfs pull")
    path.write_bytes(whole[:4] + struct.pack("<IQQ", 3, 0, 0))
    refusal(path, "no tensors")
    path.write_bytes(whole[:4] + struct.pack(">I", 3) + whole[8:])  # big-endian
    refusal(path, "wanted a little-endian GGUF.*big-endian.*gguf-convert-endian")
    path.write_bytes(whole[:8] + b"\xff" * 8 + whole[16:])  # tensors without end
    refusal(path, "GGUF header")
    path.write_bytes(whole.replace(b"tokens\x09\x00\x00\x00\x08", b"tokens\x09\x00\x00\x00\x63"))
    refusal(path, "unknown type")
    end_of_name = whole.index(b"last") + 4  # then the number of axes, two of them, and the type
    path.write_bytes(whole[: end_of_name + 20] + struct.pack("<I", 99) + whole[end_of_name + 24 :])
    refusal(path, "tensor last of unknown type 99")
    row = end_of_name + 4
    path.write_bytes(whole[:row] + struct.pack("<Q", 63) + whole[row + 8 :])
    refusal(path, "tensor last with rows of 63, no whole blocks of 32")
    path.write_bytes(whole.replace(struct.pack("<Q", 2) + b"bc", struct.pack("<Q", 2**62) + b"bc"))
    refusal(path, "GGUF header")


def test_a_part_of_a_gguf(tmp_path):
    refusal(write_gguf(tmp_path / "tiny.gguf", split=3), "one of 3 parts .*--merge")
    path = write_gguf(tmp_path / "tiny-00002-of-00003.gguf")
    refusal(path, "one shard of several .*--merge")


def test_a_file_that_may_not_be_read(folder, monkeypatch):
    """root may read every file, so it is open() that refuses here."""
    real = open

    def refusing(path, *args, **options):
        if str(path).endswith("model.safetensors"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr("builtins.open", refusing)
    refusal(folder, "model.safetensors; got: Permission denied")


# --- the hub: a server of our own speaks its protocol, and huggingface_hub runs unchanged against it


REPOS = {
    "org/whole": (
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "pytorch_model.bin",
        "train.py",
        "onnx/config.json",
    ),
    "org/shards": ("config.json", "model.safetensors.index.json", "part-a.safetensors", "part-b.safetensors"),
    "org/bin": ("config.json", "pytorch_model.bin", "tf_model.h5"),
    "org/ggufs": ("a-Q4.gguf", "a-Q8.gguf"),
    "org/unknown-type": ("config.json", "model.safetensors"),
}


def file_of(repo, path):
    if path.endswith("config.json"):
        return json.dumps(CONFIG | ({"model_type": "eigen9000"} if repo == "org/unknown-type" else {})).encode()
    if path.endswith(".index.json"):
        return json.dumps({"weight_map": {"a": "part-a.safetensors", "b": "part-b.safetensors"}}).encode()
    if path.endswith(".safetensors"):
        return header_of({path[5:6]: {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}) + bytes(12)
    return b"PK\x05\x06" + bytes(18) if path.endswith(".bin") else b"{}"


class Hub(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        self.server.asked.append(self.path)

    def do_HEAD(self):
        self.do_GET(has_body=False)

    def answer(self, status, content, has_body, **headers):
        self.send_response(status)
        for key, value in ({"Content-Length": len(content), "X-Repo-Commit": COMMIT} | headers).items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        if has_body:
            self.wfile.write(content)

    def do_GET(self, has_body=True):
        parts = self.path.split("?")[0].strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        repo, rest = "/".join(parts[2:4] if is_api else parts[:2]), parts[4:] if is_api else parts[2:]
        if repo == "org/gated":
            return self.answer(403, b"{}", has_body, X_Error_Code="GatedRepo")
        if repo not in REPOS:
            return self.answer(404, b"{}", has_body, X_Error_Code="RepoNotFound")
        if len(rest) > 1 and rest[1] not in ("main", "v1", COMMIT):
            return self.answer(404, b"{}", has_body, X_Error_Code="RevisionNotFound")
        files = {path: file_of(repo, path) for path in REPOS[repo]}
        if not is_api:
            content = files["/".join(rest[2:])]
            return self.answer(200, content, has_body, ETag=f'"{hashlib.sha1(content).hexdigest()}"')
        if rest[:1] == ["tree"]:
            tree = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]
            return self.answer(200, json.dumps(tree).encode(), has_body)
        info = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]}
        return self.answer(200, json.dumps(info).encode(), has_body)


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def resolve_in_a_process(tmp_path, endpoint, *wanted):
    """One answer a (model, revision). huggingface_hub reads its endpoint at import: hence a process."""
    program = """
        import json, sys
        from eigenhouse.errors import EigenhouseError
        from eigenhouse.ingest.sources.locate import resolve
        from eigenhouse.ingest.sources.source import revision_order
        for model, revision in json.loads(sys.argv[1]):
            try:
                source = resolve(model, revision=revision)
                files = sorted(path.name for path in source.folder.iterdir())
                answer = [source.model_id, source.origin, source.kind, files]
            except EigenhouseError as error:
                answer = str(error)
            print("answer", json.dumps(answer))
    """
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-c", textwrap.dedent(program), json.dumps(wanted)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    answers = [json.loads(line.removeprefix("answer ")) for line in lines if line.startswith("answer ")]
    assert all(len(answer.splitlines()) <= 2 for answer in answers if isinstance(answer, str))
    return answers


def test_hub_models_and_refusals_then_without_network(tmp_path, hub):
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    wanted = [[repo, None] for repo in [*REPOS, "org/gated", "org/gone", "gone"]]
    answers = dict(
        zip(
            [repo for repo, _ in wanted] + ["v1", "v2"],
            resolve_in_a_process(tmp_path, endpoint, *wanted, ["org/whole", "v1"], ["org/whole", "v2"]),
            strict=True,
        )
    )
    whole = ["config.json", "model.safetensors", "tokenizer.json"]  # no .bin, no code, no onnx
    assert answers["org/whole"] == ["org/whole", f"hub:org/whole@{COMMIT}", "safetensors", whole]
    assert answers["v1"][:2] == ["org/whole@v1", f"hub:org/whole@{COMMIT}"]
    assert answers["org/shards"][2:] == ["safetensors", sorted(REPOS["org/shards"])]
    assert answers["org/bin"][2:] == ["bin", ["config.json", "pytorch_model.bin"]]
    assert "only GGUF files" in answers["org/ggufs"] and "a-Q4.gguf" in answers["org/ggufs"]
    assert "eigen9000" in answers["org/unknown-type"]
    assert not [path for path in hub.asked if path.startswith("/org/unknown-type") and "safetensors" in path]
    assert "gated" in answers["org/gated"] and "hf auth login" in answers["org/gated"]
    assert "unknown to the hub" in answers["org/gone"] and "minilm-l6" in answers["gone"]
    assert "REVISION=v2" in answers["v2"] and "no such branch" in answers["v2"]

    started = time.monotonic()
    nobody = "http://127.0.0.1:9"  # refuses every connection
    cached, revised, absent = resolve_in_a_process(
        tmp_path, nobody, ["org/whole", None], ["org/whole", "v1"], ["org/other", None]
    )
    assert cached == answers["org/whole"]
    assert revised == answers["v1"]
    assert "no network?" in absent and "ConnectError" in absent
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("GatedRepoError", "gated"),
        ("RepositoryNotFoundError", "unknown to the hub"),
        ("RevisionNotFoundError", "no such branch"),
        ("HfHubHTTPError", "cannot be reached .*HfHubHTTPError: the answer"),
        ("LocalEntryNotFoundError", "cannot be reached"),
        ("OfflineModeIsEnabled", "cannot be reached"),
    ],
)
@pytest.mark.parametrize("where", ["model_info", "snapshot_download"])
def test_every_exception_of_the_hub_client(monkeypatch, kind, message, where):
    """Raised by the first question, or later, by the download of a file (a gated model's page is public)."""
    import httpx2
    from huggingface_hub import HfApi, errors

    def fail(*_, **options):
        made = getattr(errors, kind)
        if options.get("local_files_only"):
            raise errors.LocalEntryNotFoundError("nothing cached")
        if not issubclass(made, errors.HfHubHTTPError):
            raise made("the answer")
        raise made("the answer\nand more", response=httpx2.Response(403, request=httpx2.Request("GET", "http://hub")))

    sibling = type("Sibling", (), {"rfilename": "config.json"})
    info = type("Info", (), {"sha": COMMIT, "siblings": [sibling]})
    monkeypatch.setattr(HfApi, "model_info", fail if where == "model_info" else lambda *_, **__: info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    refusal("org/name", message, revision="r")


def test_nothing_heavy_is_imported_to_refuse(tmp_path):
    program = (
        "import sys\n"
        "from eigenhouse.errors import EigenhouseError\n"
        "from eigenhouse.ingest.sources.locate import resolve\n"
        "try: resolve('./gone')\n"
        "except EigenhouseError: pass\n"
        "print({'torch', 'transformers', 'huggingface_hub', 'gguf', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("revision", "step"),
    [
        ("step1000", 1000),
        ("step0", 0),
        ("stage1-step512-tokens3B", 512),
        ("checkpoint-40", 40),
        ("ckpt_7", 7),
        ("v2", 2),
        ("main", None),
        ("v1.5", None),
        ("6a9e2f0c4b1d8e7f6a9e2f0c4b1d8e7f6a9e2f0c", None),
        (None, None),
    ],
)
def test_the_step_that_a_revision_tells(revision, step):
    assert revision_order(revision) == step
