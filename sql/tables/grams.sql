--| title = "Frobenius inner products of a head's operator between two layers."
--| grain = ["model_key", "operator", "head", "layer", "other_layer"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| operator = "which operator of the head: metric, head_product or a variant such as metric_folded"
--| head = "query head, counted from 0"
--| layer = "layer, counted from 0"
--| other_layer = "second layer of the pair, other_layer >= layer"
--| gram = """
--| <M_layer, M_other_layer> for the head of the same index; the squared Frobenius norm where the layers are equal"""
create table if not exists grams (
    model_key   bigint not null,
    operator    varchar not null,
    head        smallint not null,
    layer       smallint not null,
    other_layer smallint not null,
    gram        double not null
);
