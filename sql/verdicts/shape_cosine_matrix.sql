--| about = "the mean cosine over pairs of layers, the two layers least alike, and the cosine of random heads"
with

pairs as (
    select model_id, operator, layer, other_layer, avg(cosine) as mean_cosine
    from shape_cosines
    where
        layer < other_layer
        and ($model is null or model_id = $model)
    group by model_id, operator, layer, other_layer
    having count(cosine) > 0
    -- the metric, or the first operator that an imported file has
    qualify dense_rank() over (partition by model_id order by operator <> 'metric', operator) = 1
),

lowest as (
    select
        model_id, operator,
        avg(mean_cosine) as mean_cosine,
        count(*) as n_pairs,
        min(mean_cosine) as lowest_cosine,
        -- of pairs that tie within rounding, the first
        arg_min(
            {'layer': layer, 'other_layer': other_layer}, (round(mean_cosine, 6), layer, other_layer)
        ) as lowest_pair
    from pairs
    group by model_id, operator
)

select
    lowest.model_id,
    format(
        'Over {} pairs of layers the spectra of the {} have a mean cosine of {:.4f}; least alike are layers {} and {},'
        || ' with {:.4f}',
        lowest.n_pairs, lowest.operator, lowest.mean_cosine,
        lowest.lowest_pair.layer, lowest.lowest_pair.other_layer, lowest.lowest_cosine
    )
    || coalesce(format('; random heads of the shape have {:.5f}.', null_cosines.null_mean), '.') as sentence
from lowest
inner join models on lowest.model_id = models.model_id
left join null_cosines
    on models.model_id = null_cosines.model_id
    and models.head_dim = null_cosines.head_dim
    and lowest.operator <> 'head_product'
order by lowest.model_id
