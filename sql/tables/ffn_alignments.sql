--| title = "Share of an MLP input matrix's energy that lies in the leading directions of a head."
--| grain = ["model_key", "layer", "head", "side", "weight", "expert"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
--| side = "key (left singular vectors of the metric W_K^T W_Q, what keys are read by) or query (right ones)"
--| weight = "gate or up; an MLP without a gate has its input matrix as up"
--| expert = "expert, counted from 0; 0 too where the layer has none, -1 for an expert that all tokens share"
--| subspace_size = "directions of each subspace: the leading ones, at most what --subspace-size asks for"
--| energy_fraction = "|W U|^2 / |W|^2, in [0, 1]; chance is subspace_size / hidden_size; null for a zero matrix"
--| other_layers_mean = """
--| mean of the same share over the subspaces of the same head and side in all other layers; null without another \
--| layer"""
--| is_degenerate = """
--| whether the head's subspace is cut in a tie (or at zero), so that rounding chose some of its directions"""
create table if not exists ffn_alignments (
    model_key         bigint not null,
    layer             smallint not null,
    head              smallint not null,
    side              varchar not null,
    weight            varchar not null,
    expert            smallint not null,
    subspace_size     smallint not null,
    energy_fraction   float,
    other_layers_mean float,
    is_degenerate     boolean not null
);
