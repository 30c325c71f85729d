--| title = "How alike the leading directions of a head are in two layers, by side."
--| grain = ["model_key", "head", "side", "layer", "other_layer"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| head = "query head, counted from 0"
--| side = "key (left singular vectors of the metric W_K^T W_Q, what keys are read by) or query (right ones)"
--| layer = "layer, counted from 0"
--| other_layer = "second layer of the pair, other_layer > layer"
--| subspace_size = "directions of each subspace: the leading ones, at most what --subspace-size asks for"
--| overlap = "mean cos^2 of the principal angles, in [0, 1]; chance is subspace_size / hidden_size"
--| is_degenerate = """
--| whether one of the two subspaces is cut in a tie (or at zero), so that rounding chose some of its directions"""
create table if not exists side_overlaps (
    model_key     bigint not null,
    head          smallint not null,
    side          varchar not null,
    layer         smallint not null,
    other_layer   smallint not null,
    subspace_size smallint not null,
    overlap       float not null,
    is_degenerate boolean not null
);
