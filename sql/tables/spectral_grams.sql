--| title = "Inner products of a head's singular values between two layers."
--| grain = ["model_key", "operator", "head", "layer", "other_layer"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| operator = "which operator of the head: metric, head_product or a variant such as metric_folded"
--| head = "query head, counted from 0"
--| layer = "layer, counted from 0"
--| other_layer = "second layer of the pair, other_layer >= layer"
--| gram = "<sigma_layer, sigma_other_layer>, >= 0, the shorter spectrum padded with zeros"
create table if not exists spectral_grams (
    model_key   bigint not null,
    operator    varchar not null,
    head        smallint not null,
    layer       smallint not null,
    other_layer smallint not null,
    gram        double not null
);
