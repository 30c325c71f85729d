--| title = "The five heads anywhere in the model whose leading directions are nearest to a head's, by side."
--| grain = ["model_key", "side", "layer", "head", "rank"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| side = "key (left singular vectors of the metric W_K^T W_Q, what keys are read by) or query (right ones)"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
--| rank = "0 for the nearest, at most 4; fewer where the model has fewer other heads"
--| other_layer = "layer of the matched head; may be the same layer"
--| other_head = "the matched query head, counted from 0"
--| subspace_size = "directions of each subspace: the leading ones, at most what --subspace-size asks for"
--| overlap = "mean cos^2 of the principal angles with the matched head, in [0, 1], not rising with rank"
--| mean_overlap = "mean overlap with all other heads of the model, the same for every rank"
--| is_degenerate = """
--| whether the head's or the matched head's subspace is cut in a tie (or at zero), so that rounding chose some of its \
--| directions"""
create table if not exists head_matches (
    model_key     bigint not null,
    side          varchar not null,
    layer         smallint not null,
    head          smallint not null,
    rank          smallint not null,
    other_layer   smallint not null,
    other_head    smallint not null,
    subspace_size smallint not null,
    overlap       float not null,
    mean_overlap  float not null,
    is_degenerate boolean not null
);
