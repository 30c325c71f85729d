--| question = "How alike are the spectra of the heads of a layer?"
--| grain = ["model_id", "operator", "layer"]
--| kept = true
--| [columns]
--| mean_cosine = """
--| mean cosine of the spectra over pairs of heads, 0 to 1; zero heads stay out; null with fewer than two others"""
--| n_heads = "heads that are not zero"
create or replace view layer_shapes as
with

-- one list a head: its own norm joins it without a second scan
heads as (
    select
        models.model_id, singular_values.operator, singular_values.layer,
        sqrt(sum(singular_values.sigma::double ** 2)) as length,
        list({'k': singular_values.k, 'sigma': singular_values.sigma}) as spectrum
    from singular_values
    inner join models on singular_values.model_key = models.model_key
    group by
        models.model_id, singular_values.operator, singular_values.layer, singular_values.head
),

values_by_head as (
    select model_id, operator, layer, length, unnest(spectrum, recursive := true)
    from heads
),

-- spectra of length 1: their inner products are the cosines
unit_values as (
    select
        model_id, operator, layer, k,
        sum(sigma / nullif(length, 0)) as total,
        count(nullif(length, 0)) as n_heads
    from values_by_head
    group by model_id, operator, layer, k
),

layer_sums as (
    select
        model_id, operator, layer,
        sum(total * total) as sum_of_squares,
        max(n_heads) as n_heads
    from unit_values
    group by model_id, operator, layer
)

select
    model_id, operator, layer,
    -- |sum of n unit vectors|^2 is n plus twice the cosines of all pairs; rounding must not lift the mean above 1
    case when n_heads > 1 then least((sum_of_squares / n_heads - 1) / (n_heads - 1), 1) end as mean_cosine,
    n_heads
from layer_sums;
