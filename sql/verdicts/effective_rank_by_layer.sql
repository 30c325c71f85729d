--| about = "the median effective rank of the metric, its lowest and highest layer, and that of random heads"
with

layer_ranks as (
    select
        model_id, operator, layer,
        median(effective_rank) as median_rank,
        -- layers that tie within rounding tie in this
        round(median(effective_rank), 6) as rounded_rank,
        count(effective_rank) as n_heads
    from head_descriptors
    where $model is null or model_id = $model
    group by model_id, operator, layer
    having count(effective_rank) > 0
    -- the metric, or the first operator that an imported file has
    qualify dense_rank() over (partition by model_id order by operator <> 'metric', operator) = 1
),

null_medians as (
    select model_id, operator, median(effective_rank) as null_rank
    from null_descriptors
    where $model is null or model_id = $model
    group by model_id, operator
)

select
    layer_ranks.model_id,
    format(
        'Over {} layers ({} heads) the layer''s median effective rank of the {} runs from {:.1f} in layer {} to {:.1f}'
        || ' in layer {}',
        count(*), sum(layer_ranks.n_heads)::bigint, any_value(layer_ranks.operator),
        min(layer_ranks.median_rank), arg_min(layer_ranks.layer, (layer_ranks.rounded_rank, layer_ranks.layer)),
        max(layer_ranks.median_rank),
        arg_max(layer_ranks.layer, (layer_ranks.rounded_rank, -layer_ranks.layer)) filter (layer_ranks.rounded_rank is not null)
    )
    || coalesce(format('; random heads of the shape have {:.1f}.', any_value(null_medians.null_rank)), '.') as sentence
from layer_ranks
left join null_medians
    on layer_ranks.model_id = null_medians.model_id
    and layer_ranks.operator = null_medians.operator
group by layer_ranks.model_id
order by layer_ranks.model_id
