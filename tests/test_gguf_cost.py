"""The bench of GGUF files runs in small; no time is asserted."""

import gguf

from bench import gguf_cost


def test_both_ways_read_the_random_model(tmp_path, monkeypatch):
    for name, size in {"HIDDEN": 64, "HEADS": 4, "KEY_HEADS": 2, "FFN": 96}.items():
        monkeypatch.setattr(gguf_cost, name, size)
    file = gguf_cost.write(tmp_path / "random.gguf", n_layers=2, vocabulary=128)
    assert {tensor.tensor_type.name for tensor in gguf.GGUFReader(str(file)).tensors} == {"Q8_0", "F32"}
    for way in gguf_cost.WAYS.values():
        seconds, _, megabytes = way(file)
        assert seconds > 0 and megabytes > 0
