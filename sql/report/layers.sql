--| title = "Layers"
--| [parameters]
--| model = {}
select
    layers.attention_kind,
    layers.window_size,
    layers.n_heads,
    layers.n_kv_heads,
    layers.head_dim,
    count(*) as n_layers,
    count(*) filter (layers.is_measured) as n_measured,
    string_agg(layers.layer, ', ' order by layers.layer) as layers
from layers
inner join models on layers.model_key = models.model_key
where models.model_id = $model
group by layers.attention_kind, layers.window_size, layers.n_heads, layers.n_kv_heads, layers.head_dim
order by min(layers.layer)
