--| title = "The layers of each stack, measured or not."
--| grain = ["model_key", "layer"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| layer = "layer, counted from 0"
--| n_heads = "query heads of this layer; null only where the layer is not measured"
--| n_kv_heads = "key-value heads of this layer; null where unknown"
--| head_dim = "dimensions of a query and key vector of this layer, without position_dim; null where unknown"
--| attention_kind = "full, sliding, chunked, linear or other; null for an imported file"
--| window_size = "keys that a query may see in a sliding or chunked layer; null in any other"
--| is_measured = "whether the layer's heads have rows in the fact tables"
--| position_dim = """
--| further dimensions that hold positions alone, as latent attention has them: operator metric_position; null where \
--| there are none"""
create table if not exists layers (
    model_key      bigint not null,
    layer          smallint not null check (layer >= 0),
    n_heads        integer check (n_heads > 0),
    n_kv_heads     integer check (n_kv_heads > 0),
    head_dim       integer check (head_dim > 0),
    attention_kind varchar check (attention_kind in ('full', 'sliding', 'chunked', 'linear', 'other')),
    window_size    integer check (window_size > 0),
    is_measured    boolean not null,
    position_dim   integer check (position_dim > 0),
    primary key (model_key, layer),
    check (not is_measured or n_heads is not null)
);
