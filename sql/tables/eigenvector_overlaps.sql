--| title = "How alike the leading eigenvectors of a head's symmetric part are in two layers."
--| grain = ["model_key", "head", "layer", "other_layer"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| head = "query head, counted from 0"
--| layer = "layer, counted from 0"
--| other_layer = "second layer of the pair, other_layer > layer"
--| top1_overlap = "(v . v')^2 of the eigenvectors of largest magnitude, in [0, 1]; chance is 1 / hidden_size"
--| is_degenerate = """
--| whether the largest magnitude is tied (or zero) in one of the two layers, so that rounding chose the vector"""
create table if not exists eigenvector_overlaps (
    model_key     bigint not null,
    head          smallint not null,
    layer         smallint not null,
    other_layer   smallint not null,
    top1_overlap  float not null,
    is_degenerate boolean not null
);
