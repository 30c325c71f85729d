--| title = "The whole weight matrices of each layer."
--| grain = ["model_key", "layer", "weight", "expert"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| layer = "layer, counted from 0"
--| weight = "q, k, v, o, gate, up or down; an ungated input matrix is up; fused matrices are split"
--| expert = "expert, counted from 0; 0 too where the layer has none, -1 for an expert that all tokens share"
--| n_rows = "outputs"
--| n_cols = "inputs"
create table if not exists weights (
    model_key bigint not null,
    layer     smallint not null,
    weight    varchar not null,
    expert    smallint not null,
    n_rows    integer not null,
    n_cols    integer not null
);
