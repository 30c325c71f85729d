--| title = "Leading eigenvectors of the symmetric part of each head's metric."
--| grain = ["model_key", "layer", "head", "k"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
--| k = "rank within the head, counted from 0"
--| vector = """
--| unit vector of hidden_size numbers, its largest-magnitude component positive; k as in eigenvalues, operator \
--| metric"""
create table if not exists eigenvectors (
    model_key bigint not null,
    layer     smallint not null,
    head      smallint not null,
    k         integer not null,
    vector    float[] not null
);
