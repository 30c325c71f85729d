--| title = "Cosines of the principal angles between a head's leading directions in two layers."
--| grain = ["model_key", "head", "basis", "layer", "other_layer", "k"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| head = "query head, counted from 0"
--| basis = "eigen (of the symmetric part, the top 16 by magnitude), or key, query on request"
--| layer = "layer, counted from 0"
--| other_layer = "second layer of the pair, other_layer > layer"
--| k = "rank, counted from 0"
--| cosine = "cosine of the k-th smallest principal angle, in [0, 1], not rising with k"
--| is_degenerate = """
--| whether one of the two subspaces is cut in a tie (or at zero), so that rounding chose some of its directions"""
create table if not exists principal_cosines (
    model_key     bigint not null,
    head          smallint not null,
    basis         varchar not null,
    layer         smallint not null,
    other_layer   smallint not null,
    k             integer not null,
    cosine        float not null,
    is_degenerate boolean not null
);
