--| title = "Signed eigenvalues of the symmetric part (M + M^T) / 2 of each head's operator, by falling magnitude."
--| grain = ["model_key", "operator", "layer", "head", "k"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| operator = "which operator of the head: metric, head_product or a variant such as metric_folded"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
--| k = "rank within the head, counted from 0"
--| eigenvalue = "signed eigenvalue, |eigenvalue| falling in k; the min(2 head_dim, hidden_size) that can be non-zero"
create table if not exists eigenvalues (
    model_key  bigint not null,
    operator   varchar not null,
    layer      smallint not null,
    head       smallint not null,
    k          integer not null,
    eigenvalue float not null
);
