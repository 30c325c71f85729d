"""The stage of attention beside a plain forward pass of the same model on the same tokens, in the same process."""

from __future__ import annotations

import torch
from transformers import AutoModel

from bench import ours
from bench.rows.row import NotRun, Pair, Row
from bench.setting import Setting
from bench.timing import side_by_side
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.sources.locate import resolve
from eigenhouse.ingest.sources.prompts import PromptSet, read_prompts
from eigenhouse.options import Ingest

N_PROMPTS, N_TOKENS = 4, 512


def on_the_cpu(setting: Setting) -> Pair:
    return beside_plain(setting, "cpu")


def on_a_gpu(setting: Setting) -> Pair:
    if not torch.cuda.is_available():
        raise NotRun("there is no GPU here")
    return beside_plain(setting, "cuda")


def beside_plain(setting: Setting, device: str, n_tokens: int = N_TOKENS) -> Pair:
    """Both in float32, all prompts in one batch; the stage's comparison with the model's own kernel is in its time."""
    shape = setting.shape("0.5b", 24)
    model = setting.checkpoint(shape)
    options = Ingest(model=str(model), dynamic_only=True, device=device)
    bench = Workbench(resolve(str(model)), options, needs_forward=True)
    prompts = texts(n_tokens)
    ids = torch.tensor([bench.tokenizer(text)["input_ids"] for text in prompts.texts], device=device)
    plain = AutoModel.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa").to(device).eval()

    def forward() -> None:
        with torch.inference_mode():
            plain(input_ids=ids, use_cache=False)
        _wait(device)

    def stage() -> None:
        ours.attention_statistics(bench, prompts)
        _wait(device)

    for work in (stage, forward):  # once before the clock: what the workbench finds out of a model is found once
        work()
    mine, theirs = side_by_side(stage, forward, setting.rounds)
    return Pair(mine, theirs, note=f"{shape}; {N_PROMPTS} × {n_tokens} tokens, float32, {device}")


def texts(n_tokens: int) -> PromptSet:
    """Prompts of exactly so many tokens of a random checkpoint, whose tokens are words of the standard prompts."""
    words = [word for text in read_prompts().texts for word in text.split() if word.isalpha()]
    n_words = len(words)
    made = tuple(" ".join(words[(41 * k + i) % n_words] for i in range(n_tokens)) for k in range(N_PROMPTS))
    return PromptSet("bench@00000000", made, ("0" * 64,) * N_PROMPTS)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


ROWS = (
    Row("attention_cpu", "attention stage, CPU", "a plain sdpa forward", on_the_cpu, at_most=1.2),
    Row("attention_gpu", "attention stage, GPU", "a plain sdpa forward", on_a_gpu, at_most=2),
)
