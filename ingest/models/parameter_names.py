"""What families of models call their parameters: q and k, v and o, the matrices of an MLP."""

from __future__ import annotations

SEPARATE = (
    ("q_proj", "k_proj"),
    ("query", "key"),
    ("q_lin", "k_lin"),
    ("wq", "wk"),
    ("q", "k"),
    ("query_proj", "key_proj"),
    ("to_q", "to_k"),
    ("Wq", "Wk"),
    ("project_q", "project_k"),
)
FUSED = ("c_attn", "qkv_proj", "query_key_value", "Wqkv", "qkv", "in_proj", "att_proj")
LATENT = ("q_a_proj", "q_a_layernorm", "q_b_proj"), ("kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj")
# by role, in the order of preference at one place of a layer; 'up' alone may turn out to hold both input matrices
FAMILIES: tuple[dict[str, str], ...] = (
    {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"},
    {"up": "gate_up_proj", "down": "down_proj"},
    {"up": "up_proj", "down": "down_proj"},
    {"gate": "w1", "up": "w3", "down": "w2"},
    {"up": "w1", "down": "w2"},
    {"gate": "wi_0", "up": "wi_1", "down": "wo"},
    {"up": "wi", "down": "wo"},
    {"up": "Wi", "down": "Wo"},
    {"gate": "c_fc_0", "up": "c_fc_1", "down": "c_proj"},
    {"up": "c_fc", "down": "c_proj"},
    {"up": "fc1", "down": "fc2"},
    {"up": "dense_h_to_4h", "down": "dense_4h_to_h"},
    {"up": "fc_in", "down": "fc_out"},
    {"up": "lin1", "down": "lin2"},
    {"up": "linear1", "down": "linear2"},
    {"up": "linear_fc1", "down": "linear_fc2"},
    {"up": "input_linear", "down": "output_linear"},
    {"up": "intermediate.dense", "down": "output.dense"},
    {"up": "intermediate_dense", "down": "output_dense"},
    {"up": "ffn", "down": "ffn_output"},
    {"up": "layer_1", "down": "layer_2"},
)
VALUES = ("v_proj", "value", "v_lin", "wv", "v", "value_proj", "to_v")
OUTPUTS = ("o_proj", "out_proj", "dense", "c_proj", "out_lin", "wo", "o", "Wo", "to_out", "proj", "output.dense")
