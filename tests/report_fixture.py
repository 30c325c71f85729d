"""A warehouse to report on: a whole model, a hybrid whose every text is an attack, one with spectra alone."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import experiment_fixture
import polars as pl
import warehouse_fixture as base

from eigenhouse.ingest.warehouse import store

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
PLAIN, STATIC = "org/main", "Org/Main"  # one file name where a system does not tell letters' cases apart
ATTACK = "</script><script>hit = 1</script><img src=x onerror=hit=1>|*b*_i_`c`[l](javascript:hit=1)\"q\"'s'\\&amp;$1"


def build(path: Path, folder: Path) -> None:
    plain = experiment_fixture.BY_ID["org/main"]
    attack = replace(experiment_fixture.BY_ID["org/hybrid"], model_id=f"{ATTACK}@1#x")
    experiment_fixture.build(path, folder, [plain, attack])
    texts = pl.DataFrame(
        [(name, 0, f"{ATTACK}\nfor {name}", hashlib.sha256(name.encode()).hexdigest()) for name in base.PROMPT_SETS],
        schema=["prompt_set", "prompt", "text", "sha256"],
        orient="row",
    )
    texts.write_parquet(folder / "prompts.parquet")
    left_out = pl.DataFrame(
        [(f"layer 0 {ATTACK}", f"no reason, {ATTACK}", "spectra")], ["module", "reason", "stage"], orient="row"
    )
    more = base.stack(attack.model_id, base.staged(folder / "more", skipped_modules=left_out))
    sizes = {"n_layers": attack.n_layers, "n_heads": attack.n_heads, "n_kv_heads": attack.n_heads}
    sizes |= {"head_dim": attack.head_dim, "hidden_size": attack.hidden_size, "source": ATTACK, "architecture": ATTACK}
    static = base.stack(STATIC, base.staged(folder / "static", singular_values=base.singular_values(2)))
    loads = [replace(more, model=more.model | sizes), static]
    store.load(path, loads, {"prompts": [folder / "prompts.parquet"]}, force=False)
