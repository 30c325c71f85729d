--| question = "Do the heads of a layer have spectra of one shape?"
--| grain = ["model_id", "operator", "layer"]
--| [columns]
--| mean_cosine = """
--| mean cosine of the spectra over pairs of heads, 0 to 1; zero heads stay out; null with fewer than two others"""
--| null_mean = """
--| mean cosine of random heads of the shape, 0 to 1; null for head_product, and where there are no null spectra"""
--| n_heads = "heads that are not zero"
--| n_pairs = "pairs of them"
create or replace view cross_head_shape as
-- chance apart: another model may bring it later
select
    layer_shapes.model_id, layer_shapes.operator, layer_shapes.layer, layer_shapes.mean_cosine,
    case when layer_shapes.operator <> 'head_product' then null_cosines.null_mean end as null_mean,
    layer_shapes.n_heads,
    layer_shapes.n_heads * (layer_shapes.n_heads - 1) // 2 as n_pairs
from layer_shapes
inner join models on layer_shapes.model_id = models.model_id
left join layers
    on models.model_key = layers.model_key
    and layer_shapes.layer = layers.layer
left join null_cosines
    on layer_shapes.model_id = null_cosines.model_id
    and coalesce(layers.head_dim, models.head_dim) = null_cosines.head_dim;
