--| title = "Singular values of each head's operator, descending."
--| grain = ["model_key", "operator", "layer", "head", "k"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| operator = "which operator of the head: metric, head_product or a variant such as metric_folded"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
--| k = "rank within the head, counted from 0"
--| sigma = "singular value, >= 0, descending in k; the leading min(head_dim, hidden_size), zeros of a zero head kept"
create table if not exists singular_values (
    model_key bigint not null,
    operator  varchar not null,
    layer     smallint not null,
    head      smallint not null,
    k         integer not null,
    sigma     float not null
);
