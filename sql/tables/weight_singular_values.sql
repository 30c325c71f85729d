--| title = "Singular values of each whole weight matrix, descending."
--| grain = ["model_key", "layer", "weight", "expert", "k"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| layer = "layer, counted from 0"
--| weight = "q, k, v, o, gate, up or down; an ungated input matrix is up; fused matrices are split"
--| expert = "expert, counted from 0; 0 too where the layer has none, -1 for an expert that all tokens share"
--| k = "rank, counted from 0"
--| sigma = "singular value, >= 0, descending in k; all min(n_rows, n_cols) of them"
create table if not exists weight_singular_values (
    model_key bigint not null,
    layer     smallint not null,
    weight    varchar not null,
    expert    smallint not null,
    k         integer not null,
    sigma     float not null
);
