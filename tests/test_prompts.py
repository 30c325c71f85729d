"""Prompt sets: every file form gives the same set, every fault is named with its place."""

import hashlib
import json
import subprocess
import sys
from collections import Counter

import polars as pl
import pytest

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources.prompts import STANDARD, read_prompts

TEXTS = ("one, two", 'says "no"', "été 山", "one, two")  # a comma, quotes, bytes beyond ASCII, a duplicate

SAME_SET = {
    "a.txt": '\none, two\n  \nsays "no"\n\nété 山\none, two',
    "a.prompts": 'one, two\r\nsays "no"\r\nété 山\r\none, two\r\n',
    "a.jsonl": '"one, two"\n\n{"kind": "x", "text": "says \\"no\\""}\n{"text": "\\u00e9t\\u00e9 山"}\n"one, two"\n',
    "a.json": '[\n "one, two", {"text": "says \\"no\\""},\n {"text": "été 山", "n": 3}, "one, two"]',
    "a.csv": 'id,text\n1,"one, two"\n\n2,"says ""no"""\n3,été 山\n4,"one, two"\n\n',
    "A.CSV": '\ufefftext\n"one, two"\n"says ""no"""\nété 山\n"one, two"\n',
    "b.txt": '\ufeffone, two\nsays "no"\nété 山\none, two\n',
}


def expected_hash(texts):
    """The definition again, in one line: SHA-256 over the joined 32-byte SHA-256 of each text."""
    return hashlib.sha256(b"".join(hashlib.sha256(text.encode()).digest() for text in texts)).hexdigest()


@pytest.mark.parametrize("file_name", SAME_SET)
def test_every_form_gives_the_same_set(tmp_path, file_name):
    path = tmp_path / file_name
    path.write_bytes(SAME_SET[file_name].encode())
    prompts = read_prompts(path)
    assert prompts.texts == TEXTS
    assert prompts.name == f"{path.stem}@{expected_hash(TEXTS)[:8]}"
    assert prompts.sha256s == tuple(hashlib.sha256(text.encode()).hexdigest() for text in TEXTS)


def test_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": TEXTS, "other": [2, 3, 5, 7]}).write_parquet(path)
    assert read_prompts(path).texts == TEXTS


def test_published_digest(tmp_path):
    """SHA-256 of "abc" is the example of FIPS 180-2."""
    path = tmp_path / "a.txt"
    path.write_text("abc\n")
    assert read_prompts(path).sha256s == ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",)


def test_hash_tells_order_and_cuts_apart(tmp_path):
    """Two orders, and two ways to cut the same letters into prompts, are four different sets."""
    names = set()
    for texts in (["ab", "c"], ["c", "ab"], ["a", "bc"], ["abc"]):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(texts))
        names.add(read_prompts(path).name)
    assert len(names) == 4


def test_texts_are_kept_as_written(tmp_path):
    """Only the line end of .txt goes: indentation stays, and U+2028 or a form feed does not end a line."""
    path = tmp_path / "a.txt"
    path.write_bytes("  def f():\t\nx\u2028y\x0cz\n".encode())
    assert read_prompts(path).texts == ("  def f():\t", "x\u2028y\x0cz")
    path = tmp_path / "a.jsonl"
    path.write_text('" a\\r\\nb\\n"')
    assert read_prompts(path).texts == (" a\r\nb\n",)


@pytest.mark.parametrize(
    ("file_name", "stem"),
    [("my set#1@home.txt", "my-set-1-home"), ("a\tb.c.txt", "a-b.c"), ("plain", "plain")],
)
def test_name_has_no_separators_of_model_ids(tmp_path, file_name, stem):
    path = tmp_path / file_name
    path.write_text("x")
    assert read_prompts(path).name == f"{stem}@{expected_hash(['x'])[:8]}"


FAULTS = {
    "empty.txt": (b"", "at least one prompt"),
    "blank.txt": (b" \n\t\n", "at least one prompt"),
    "empty.jsonl": (b"\n", "at least one prompt"),
    "empty.json": (b"[]", "at least one prompt"),
    "blank.json": (b"\n", "at least one prompt"),
    "empty.csv": (b"", "at least one prompt"),
    "header.csv": (b"id,text\n", "at least one prompt"),
    "space.jsonl": (b'"a"\n\n{"text": " \\n"}\n', "line 3 .*empty text"),
    "space.json": (b'["a", ""]', "item 2 .*empty text"),
    "space.csv": (b'id,text\n1,a\n2," "\n', "row 2 .*empty text"),
    "hole.csv": (b"id,text\n1,a\n2,\n", "row 2 .*no text"),
    "latin.txt": (b"a\nb\ncaf\xe9\n", "UTF-8.*0xe9 on line 3"),
    "latin.csv": (b"text\ncaf\xe9\n", "UTF-8.*0xe9 on line 2"),
    "utf16.jsonl": ('"a"'.encode("utf-16"), "UTF-8.*UTF-16"),
    "broken.jsonl": (b'"a"\n{"text": "b"\n', "invalid JSON on line 2"),
    "spread.jsonl": (b'[\n"a"\n]\n', "invalid JSON on line 1.*belongs in a .json file"),
    "broken.json": (b'["a",\n"b"\n"c"]', "invalid JSON on line 3"),
    "object.json": (b'{"text": "a"}', "JSON list of prompts.*got an object"),
    "other.jsonl": (b'"a"\n{"prompt": "b"}\n', "line 2 .*no text"),
    "number.jsonl": (b'"a"\n{"text": 7}\n', "line 2 .*a number"),
    "list.jsonl": (b'["a", "b"]\n', "line 1 .*a list"),
    "half.jsonl": (b'"ok"\n"a\\ud83d"\n', "line 2 .*surrogate pair at character 1"),
    "column.csv": (b"id,prompt\n1,a\n", "column named text.*got id, prompt"),
    "ragged.csv": (b"text\na, b\n", "more fields.*comma or quote"),
    "bad.parquet": (b"PAR1 but no more", "a Parquet file with a column text"),
}


@pytest.mark.parametrize("file_name", FAULTS)
def test_faults_are_named_with_their_place(tmp_path, file_name):
    content, message = FAULTS[file_name]
    path = tmp_path / file_name
    path.write_bytes(content)
    with pytest.raises(EigenhouseError, match=message) as caught:
        read_prompts(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).count("\n") <= 1


def test_parquet_faults(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"prompt": ["a"]}).write_parquet(path)
    with pytest.raises(EigenhouseError, match="column named text.*got prompt"):
        read_prompts(path)
    pl.DataFrame({"text": ["a", None]}).write_parquet(path)
    with pytest.raises(EigenhouseError, match="row 2 .*no text"):
        read_prompts(path)
    pl.DataFrame({"text": [11]}).write_parquet(path)
    with pytest.raises(EigenhouseError, match="row 1 .*a number"):
        read_prompts(path)


def test_no_file(tmp_path):
    with pytest.raises(EigenhouseError, match="none.txt, which does not exist"):
        read_prompts(tmp_path / "none.txt")
    with pytest.raises(EigenhouseError, match="got the folder"):
        read_prompts(tmp_path)


def test_standard_set():
    """32 texts in six kinds, none twice; the character bounds stand in for 64 to 512 tokens."""
    lines = [json.loads(line) for line in STANDARD.read_text(encoding="utf-8").split("\n") if line]
    prompts = read_prompts()
    assert prompts.texts == tuple(line["text"] for line in lines)
    assert prompts.name == f"standard@{expected_hash(prompts.texts)[:8]}"
    assert Counter(line["kind"] for line in lines) == {
        "prose": 8, "code": 6, "mathematics": 5, "dialogue": 4, "list": 4, "language": 5,
    }  # fmt: skip
    assert len(set(prompts.sha256s)) == len(prompts.texts) == 32
    assert all(64 <= len(text) <= 2500 and text == text.strip() for text in prompts.texts)


def test_import_is_light():
    """Neither torch, transformers nor polars comes with the module: a query must answer within a second."""
    code = "import sys, eigenhouse.ingest.sources.prompts; print({'torch', 'polars'} & set(sys.modules))"
    root = STANDARD.parents[3]
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
