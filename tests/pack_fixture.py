"""Packs made of one that was measured: under other names, of other versions, and damaged in every way."""

import hashlib
import json
import os
import shutil
from dataclasses import replace

import polars as pl

from eigenhouse.ingest.packs import manifest, travel
from eigenhouse.ingest.packs.pack import Pack


def changed(pack: Pack, path, tables=None, **changes) -> Pack:
    """Written anew as a whole pack. tables: table → what becomes of each of its frames."""
    root = path.with_name(f"{path.name}.staged")
    shutil.copytree(pack.root, root)
    for part in pack.parts:
        if part.file and part.table in (tables or {}):
            file = root / part.file
            tables[part.table](pl.read_parquet(file)).write_parquet(file)
    written = travel.write(replace(pack, root=root, **changes), path)
    shutil.rmtree(root)
    return written


def named(name, revision=None, **model):
    """The columns of `models` that say whose measurements they are; by default of weights of their own."""
    weights = hashlib.sha256(f"{name} {revision}".encode()).hexdigest()
    checkpoint = name if revision is None else f"{name}@{revision}"
    return {"name": name, "revision": revision, "checkpoint": checkpoint, "weights_sha256": weights} | model


def renamed(pack: Pack, path, name, revision=None, **model) -> Pack:
    """The same measurements under another name."""
    shutil.copytree(pack.root, path)
    resealed(path, lambda held: held["model"].update(named(name, revision, **model)))
    return manifest.read(path)


def newer(pack: Pack, stage, version):
    """The stages with another version of one of them."""
    entry = replace(pack.stages[stage], version=version, fingerprint=f"{version:016x}")
    return pack.stages | {stage: entry}


def resealed(path, change):
    """What the manifest says is changed, and sealed again: nothing but the checks of its content can tell."""
    held = json.loads((path / manifest.NAME).read_text())
    change(held)
    (path / manifest.NAME).write_text(manifest.sealed(held))


def part(held, table):
    return next(each for each in held["parts"] if each["table"] == table and each["file"])


def _flip(file, place=-20):
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


def _truncate(file):
    os.truncate(file, file.stat().st_size - 9)


def _fifo(file):
    file.unlink()
    os.mkfifo(file)


def _link(file):
    shutil.move(file, file.with_suffix(".elsewhere"))
    file.symlink_to(file.with_suffix(".elsewhere").name)


def _link_folder(file):
    folder = file.parent
    shutil.move(folder, folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def _without_a_column(file):
    pl.read_parquet(file).drop("trace").write_parquet(file)


def _of_text(file):
    pl.read_parquet(file).with_columns(pl.lit("much").alias("trace")).write_parquet(file)


def _not_finite(file):
    pl.read_parquet(file).with_columns(pl.lit(float("nan"), pl.Float32).alias("trace")).write_parquet(file)


def _rehashed(path):
    """The files as they now are, as one writes who can: their hashes fit, and what stands for the rows is gone."""

    def change(held):
        for each in held["parts"]:
            if each["file"]:
                content = (path / each["file"]).read_bytes()
                each |= {"sha256": hashlib.sha256(content).hexdigest(), "n_bytes": len(content)}
                each["summed"] |= {"hash_mark": 0}

    resealed(path, change)


def _at(table, value, key="file"):
    return lambda path: resealed(path, lambda held: part(held, table).update({key: value}))


def _with_file(damage, is_rehashed=False):
    def damaged(path):
        held = json.loads((path / manifest.NAME).read_text())
        damage(path / part(held, "head_norms")["file"])
        if is_rehashed:
            _rehashed(path)

    return damaged


def _set(*steps, value):
    def change(held):
        *before, last = steps
        for step in before:
            held = held[step]
        held[last] = value

    return lambda path: resealed(path, change)


DAMAGES = {  # what is done to a whole pack → what is said of it
    "no manifest": (lambda path: (path / manifest.NAME).unlink(), "there is none"),
    "manifest cut": (lambda path: _truncate(path / manifest.NAME), "is damaged"),
    "manifest flipped": (lambda path: _flip(path / manifest.NAME, 400), "is damaged"),
    "manifest changed": (lambda path: _say_other(path / manifest.NAME), "doesn't fit its own seal"),
    "manifest a link": (lambda path: _link(path / manifest.NAME), "is a link"),
    "manifest a fifo": (lambda path: _fifo(path / manifest.NAME), "wanted a regular file"),
    "a key twice": (lambda path: _double(path / manifest.NAME), "twice"),
    "file gone": (_with_file(lambda file: file.unlink()), "can't be read: No such file"),
    "byte flipped": (_with_file(_flip), "doesn't fit its SHA-256"),
    "file cut": (_with_file(_truncate), "bytes"),
    "file a fifo": (_with_file(_fifo), "wanted a regular file"),
    "file a link": (_with_file(_link), "goes through a link"),
    "folder a link": (_with_file(_link_folder), "goes through a link"),
    "column gone": (_with_file(_without_a_column, True), "wanted the columns"),
    "column of text": (_with_file(_of_text, True), "wanted DOUBLE as trace"),
    "not finite": (_with_file(_not_finite, True), "wanted finite values"),
    "no parquet": (_with_file(lambda file: file.write_bytes(b"x" * 99), True), "Nothing of it was written"),
    "path up": (_at("head_norms", "spectra/../../out.parquet"), "lead out of the pack"),
    "path absolute": (_at("head_norms", "/etc/passwd"), "lead out of the pack"),
    "rows lacking": (_at("head_norms", 1, "expected"), "as the model's shape predicts"),
    "no such table": (_at("head_norms", "models", "table"), "writes no models"),
    "newer format": (_set("format", value=2), "of a newer program"),
    "newer schema": (_set("schema", value=99), "of a newer program"),
    "older columns": (_set("model", value={}), "other columns"),
    "unknown stage": (_set("stages", "tomorrow", value={"fingerprint": "0", "version": 1}), "doesn't know, tomorrow"),
    "name of control": (_set("model", "name", value="a\x1b[2Jb"), "wanted a NAME"),
    "version of text": (_set("stages", "spectra", "version", value="1"), "version is '1'"),
    "size of text": (_set("stacks", "stack0", "n_layers", value="many"), "Nothing of it was written"),
    "list of lists": (lambda path: (path / manifest.NAME).write_text("[" * 100_000), "nested too deep"),
}


def _say_other(file):
    """A number that could be meant."""
    file.write_text(file.read_text().replace('"ffn_size": 40', '"ffn_size": 41'))


def _double(file):
    file.write_text(file.read_text().replace('"format": 1,', '"format": 1, "format": 1,'))
