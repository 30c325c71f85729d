--| about = "the mean cosine between heads of a layer, its lowest and highest layer, and in how many it is below that of random heads"
with

layer_shapes as (
    select *
    from cross_head_shape
    where
        ($model is null or model_id = $model)
        and mean_cosine is not null
    -- the metric, or the first operator that an imported file has
    qualify dense_rank() over (partition by model_id order by operator <> 'metric', operator) = 1
)

select
    model_id,
    format(
        'Heads of one layer have spectra ({}) of mean cosine {:.4f} over {} layers, from {:.4f} in layer {} to {:.4f}'
        || ' in layer {}',
        any_value(operator), avg(mean_cosine), count(*),
        -- of layers that tie within rounding, the first
        min(mean_cosine), arg_min(layer, (round(mean_cosine, 6), layer)),
        max(mean_cosine), arg_max(layer, (round(mean_cosine, 6), -layer)) filter (mean_cosine is not null)
    )
    || coalesce(
        format(
            '; in {} of them that is below the {:.5f} of random heads.',
            count(*) filter (mean_cosine < null_mean), avg(null_mean)
        ),
        '.'
    ) as sentence
from layer_shapes
group by model_id
order by model_id
