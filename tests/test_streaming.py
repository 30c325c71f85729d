"""Prompts of models that don't fit: in 16 bits, or weights read layer by layer; against the whole model in float32."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models
import torch
from torch import nn

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import devices
from eigenhouse.ingest.capture import kernel, streaming
from eigenhouse.ingest.capture.forward import not_finite, run_prompts
from eigenhouse.ingest.capture.own_attention import compared, share_off_eager
from eigenhouse.ingest.capture.streaming import KEPT_STATES, Job, Stream
from eigenhouse.ingest.capture.texts import TokenizedPrompt
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.models import fitting
from eigenhouse.ingest.models.fitting import Fit
from eigenhouse.options import Ingest

TEXTS = [TokenizedPrompt(n, [(7 * i + n) % 90 + 5 for i in range(size)]) for n, size in enumerate((13, 29, 11, 5))]


@pytest.fixture
def stats_of(tmp_path, monkeypatch):
    """The statistics of a saved tiny model, run as a fit says, in batches of two texts."""
    monkeypatch.setattr("eigenhouse.ingest.capture.texts.MAX_BATCH", 2)

    def measure(kind, fit, **changes):
        folder = tmp_path / "".join(filter(str.isalpha, kind))
        if not folder.exists():
            tiny_models.save(kind, folder, **changes)
        monkeypatch.setattr(fitting, "fit", lambda loaded, asked: fit)
        bench = Workbench(tiny_models.local_source(folder), Ingest(model=str(folder), device="cpu"), needs_forward=True)
        reader, sites = bench.text_reader()
        found = run_prompts(reader, sites, TEXTS, lambda n: None, compared(TEXTS))
        assert share_off_eager(reader, TEXTS, found) <= 0.01 and not not_finite(found)
        return found.stats, reader

    return measure


WHOLE, STREAMED = Fit(torch.float32, True), Fit(torch.float32, False)


@pytest.mark.parametrize(
    "kind", ["grouped heads", "shared layers", "encoder-decoder", "gated q_proj, hybrid", "own kernel, ALiBi"]
)
def test_streamed_weights_give_the_numbers_of_the_whole_model(kind, stats_of):
    (whole, _), (streamed, reader) = stats_of(kind, WHOLE), stats_of(kind, STREAMED)
    assert whole.keys() == streamed.keys() and whole
    for index, by_prompt in whole.items():
        for prompt, stats in by_prompt.items():
            for name, values in stats.items():
                assert np.array_equal(streamed[index][prompt][name], values, equal_nan=True), name
    assert all(float(parameter.abs().sum()) == 0 for parameter in reader.loaded.model.parameters())  # empty again


def test_every_layer_is_read_once_for_all_prompts_and_both_kernels(stats_of, monkeypatch):
    read, real = [], streaming.Stream._fill
    monkeypatch.setattr(streaming.Stream, "_fill", lambda self, name: (read.append(name), real(self, name))[1])
    _, reader = stats_of("grouped heads", STREAMED)
    in_layers = [name for name in read if ".layers." in name]
    assert len(in_layers) == len(set(in_layers)) == 2 * 9
    assert not any("lm_head" in name for name in read)  # the output head is never run
    read.clear()
    tight = replace(reader.stream, n_bytes=4 * KEPT_STATES * 48 * 60)  # 60 tokens wait
    done = []
    job = lambda n: Job(lambda: done.append(reader.forward(reader.padded([TEXTS[n]])[0])), 29)  # noqa: E731
    tight.run([job(0), job(1), job(2)])
    assert (
        len(done) == 3 and [name for name in read if ".layers." in name].count("model.layers.1.mlp.up_proj.weight") == 2
    )


def test_a_part_that_runs_unfilled_is_seen(stats_of, monkeypatch):
    """Planted: one layer's weights are not read. Its numbers would be those of zeros."""
    real = streaming.Stream._fill
    skip = lambda self, name: None if ".layers.1." in name else real(self, name)  # noqa: E731
    monkeypatch.setattr(streaming.Stream, "_fill", skip)
    with pytest.raises(AssertionError):
        stats_of("grouped heads", STREAMED)


def test_an_error_in_one_pass_ends_them_all(stats_of):
    _, reader = stats_of("grouped heads", STREAMED)

    def fail():
        reader.forward(reader.padded([TEXTS[0]])[0])
        raise EigenhouseError("planted")

    n_threads = threading.active_count()
    with pytest.raises(EigenhouseError, match="planted"):
        reader.run([Job(lambda: reader.forward(reader.padded([TEXTS[1]])[0]), 29), Job(fail, 13)])
    assert threading.active_count() == n_threads


@pytest.mark.parametrize(("dtype", "off"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "streamed"])
def test_sixteen_bits_are_near_float32(dtype, off, is_whole, stats_of):
    """And are none of its numbers."""
    (want, _), (found, _) = stats_of("grouped heads", WHOLE), stats_of("grouped heads", Fit(dtype, is_whole))
    for index, by_prompt in want.items():
        for prompt, stats in by_prompt.items():
            entropy = found[index][prompt]["entropy_nats"]
            assert entropy == pytest.approx(stats["entropy_nats"], abs=off)
            assert prompt == 3 or not np.array_equal(entropy, stats["entropy_nats"])


def test_the_dtype_is_the_best_that_fits(tmp_path, monkeypatch):
    """auto: float32 if it fits, else the checkpoint's own 16 bits, else streamed; what is asked for is taken."""
    folder = tiny_models.save("grouped heads", tmp_path / "tiny")
    options = Ingest(model=str(folder), device="cpu", static_only=True)
    loaded = Workbench(tiny_models.local_source(folder), options, needs_forward=False).loaded
    n_values = sum(parameter.numel() for parameter in loaded.model.parameters())
    for own, bytes_a_value, asked, want in (
        ("float32", 4.1, "auto", Fit(torch.float32, True)),
        ("bfloat16", 4.1, "auto", Fit(torch.float32, True)),
        ("bfloat16", 2.1, "auto", Fit(torch.bfloat16, True)),
        ("float16", 2.1, "auto", Fit(torch.float16, True)),
        ("float32", 2.1, "auto", Fit(torch.float32, False)),
        ("Q4_K", 2.1, "auto", Fit(torch.float32, False)),
        ("bfloat16", 1.9, "auto", Fit(torch.float32, False)),
        ("float32", 9, "bfloat16", Fit(torch.bfloat16, True)),
        ("float32", 1.9, "float16", Fit(torch.float16, False)),
        ("bfloat16", 2.1, "float32", Fit(torch.float32, False)),
    ):
        free = int(bytes_a_value * n_values / fitting.MEMORY_SHARE)
        monkeypatch.setattr(devices, "free_bytes", lambda device, free=free: free)
        loaded.checkpoint.__dict__["format"] = (own, None)
        assert fitting.fit(loaded, asked) == want, (own, bytes_a_value, asked)


def test_another_kernel_than_the_models_own_is_seen_in_a_streamed_model(stats_of, monkeypatch):
    """Planted: keys one place further on. The own kernel runs among the passes that run ours."""
    stats_of("grouped heads", STREAMED)
    real = kernel.AttentionCall
    monkeypatch.setattr(kernel, "AttentionCall", lambda **given: real(**given | {"key": given["key"].roll(1, 2)}))
    with pytest.raises(AssertionError):
        stats_of("grouped heads", STREAMED)


class Body(nn.Module):
    """A parameter of its own beside a list of layers, of which one is a list again."""

    def __init__(self):
        super().__init__()
        self.shift, self.embed = nn.Parameter(torch.zeros(3)), nn.Linear(2, 3)
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.ModuleList([nn.Linear(3, 3)])])

    def forward(self, x):
        x = self.layers[0](self.embed(x) + self.shift)
        return self.layers[1][0](x)


def test_what_stands_beside_a_list_of_layers_stays_filled():
    body, real = Body(), {name: torch.randn(value.shape) for name, value in Body().state_dict().items()}
    loaded = SimpleNamespace(model=body, checkpoint=SimpleNamespace(read=real.get))
    stream = Stream(loaded, torch.float32, torch.device("cpu"), n_bytes=10**6, hidden_size=3)
    assert list(stream.units) == ["embed", "layers.0", "layers.1.0"] and stream.resident == ["shift"]
    made, x = [], torch.randn(5, 2)
    with torch.no_grad():
        stream.run([Job(lambda: made.append(body(x)), 5)])
        assert float(body(x).abs().sum()) != float(made[0].abs().sum())  # empty again
        body.load_state_dict(real)
        assert torch.equal(made[0], body(x))


def test_a_device_without_room_is_left_for_the_cpu(monkeypatch):
    said, cuda = [], torch.device("cuda")
    monkeypatch.setattr(devices, "chosen", lambda name, n_bytes=0: cuda)
    monkeypatch.setattr(devices, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(fitting.console, "say", said.append)
    assert fitting.device_for("cuda", 600) == cuda and said == []
    assert fitting.device_for("cuda", 800) == torch.device("cpu")
    assert said == ["cuda has no room for 0.0 GB of weights: prompts are run on the CPU"]
