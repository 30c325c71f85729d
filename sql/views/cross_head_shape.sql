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
with

-- one list a head: its own norm joins it without a second scan
heads as (
    select
        models.model_id, models.model_key, models.head_dim,
        singular_values.operator, singular_values.layer,
        sqrt(sum(singular_values.sigma::double ** 2)) as length,
        list({'k': singular_values.k, 'sigma': singular_values.sigma}) as spectrum
    from singular_values
    inner join models on singular_values.model_key = models.model_key
    group by
        models.model_id, models.model_key, models.head_dim,
        singular_values.operator, singular_values.layer, singular_values.head
),

values_by_head as (
    select model_id, model_key, head_dim, operator, layer, length, unnest(spectrum, recursive := true)
    from heads
),

-- spectra of length 1: their inner products are the cosines
unit_values as (
    select
        model_id, model_key, head_dim, operator, layer, k,
        sum(sigma / nullif(length, 0)) as total,
        count(nullif(length, 0)) as n_heads
    from values_by_head
    group by model_id, model_key, head_dim, operator, layer, k
),

layer_sums as (
    select
        model_id, model_key, head_dim, operator, layer,
        sum(total * total) as sum_of_squares,
        max(n_heads) as n_heads
    from unit_values
    group by model_id, model_key, head_dim, operator, layer
)

select
    layer_sums.model_id, layer_sums.operator, layer_sums.layer,
    -- |sum of n unit vectors|^2 is n plus twice the cosines of all pairs; rounding must not lift the mean above 1
    case
        when layer_sums.n_heads > 1
            then least((layer_sums.sum_of_squares / layer_sums.n_heads - 1) / (layer_sums.n_heads - 1), 1)
    end as mean_cosine,
    case when layer_sums.operator <> 'head_product' then null_cosines.null_mean end as null_mean,
    layer_sums.n_heads,
    layer_sums.n_heads * (layer_sums.n_heads - 1) // 2 as n_pairs
from layer_sums
left join layers
    on layer_sums.model_key = layers.model_key
    and layer_sums.layer = layers.layer
left join null_cosines
    on layer_sums.model_id = null_cosines.model_id
    and coalesce(layers.head_dim, layer_sums.head_dim) = null_cosines.head_dim;
