--| about = "the mean cosine of spectra beside that of operators over all pairs of layers, each with its chance"
with

pairs as (
    select
        model_id,
        avg(mean_shape_cosine) as shape_cosine,
        avg(mean_operator_cosine) as operator_cosine,
        count(mean_operator_cosine) as n_pairs
    from spectrum_against_operator
    where operator = 'metric' and layer < other_layer and ($model is null or model_id = $model)
    group by model_id
),

chances as (
    select null_cosines.model_id, null_cosines.null_mean
    from null_cosines
    inner join models
        on null_cosines.model_id = models.model_id
        and null_cosines.head_dim = models.head_dim
    where $model is null or null_cosines.model_id = $model
)

select
    pairs.model_id,
    format(
        'Over {} pairs of layers the spectra of a head''s metric have a mean cosine of {:.3f} (random heads: {}),'
        || ' the metrics themselves {:.3f} (random heads: 0).',
        pairs.n_pairs, pairs.shape_cosine,
        coalesce(format('{:.4f}', chances.null_mean), 'not known'), pairs.operator_cosine
    ) as sentence
from pairs
left join chances on pairs.model_id = chances.model_id
where pairs.n_pairs > 0
order by pairs.model_id
