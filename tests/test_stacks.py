"""Which attention calls form a stack, and which layer each of them is."""

from dataclasses import replace

import torch

from eigenhouse.ingest.capture import kernel
from eigenhouse.ingest.capture.sites import record_sites
from eigenhouse.ingest.capture.stacks import find_stacks


class TwoAttentions(torch.nn.Module):
    """A layer whose second attention takes its keys from elsewhere, under a name of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = OneAttention(), OneAttention()

    def forward(self, hidden, memory):
        return self.second(hidden + self.first(hidden, hidden), memory)


class OneAttention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj = (torch.nn.Linear(42, 42) for _ in "qk")

    def forward(self, hidden_states, source):
        q, k = (
            side(rows).unflatten(-1, (3, 14)).transpose(1, 2)
            for side, rows in ((self.q_proj, hidden_states), (self.k_proj, source))
        )
        return kernel.attention_function(self, q, k, k, None)[0].flatten(2)


class TwoLayers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([TwoAttentions(), TwoAttentions()])

    def forward(self, hidden):
        for layer in self.layers:
            hidden = layer(hidden, memory=torch.ones(1, 5, 42))
        return hidden


def test_the_second_attention_of_a_layer_is_a_stack_of_its_own():
    """So that layers keep their numbers; a lone one of another name belongs to the first ones."""
    model = TwoLayers()
    sites, _ = record_sites(model, model, {"hidden": torch.randn(1, 13, 42)})
    lone = [
        replace(site, path=site.path.replace("1.first", "1.mixer")) for site in sites if "1.second" not in site.path
    ]
    for recorded, first, second in (
        (sites, "layers.1.first", {0: "layers.0.second", 1: "layers.1.second"}),
        (lone, "layers.1.mixer", {0: "layers.0.second"}),
    ):
        stacks = find_stacks(model, recorded)
        found = {
            stack.suffix: {layer: recorded[index].path for layer, index in stack.sites.items()} for stack in stacks
        }
        assert found == {"layers": {0: "layers.0.first", 1: first}, "layers-second": second}
        left_out = {layer for stack in stacks for layer in stack.skipped}
        assert left_out == ({"layers.1"} if recorded is lone else set())  # its module is there, and was never called
