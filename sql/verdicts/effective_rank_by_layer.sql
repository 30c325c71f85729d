--| about = "the median effective rank of the metric, its lowest and highest layer, and that of random heads"
with

layer_ranks as (
    select *
    from answer
    where n_heads > 0
    qualify is_first_operator(model_id, operator)
)

select
    model_id,
    format(
        'Over {} layers ({} heads) the layer''s median effective rank of the {} runs from {:.1f} in layer {} to {:.1f}'
        || ' in layer {}',
        count(*), sum(n_heads)::bigint, any_value(operator),
        min(median_effective_rank), where_least(median_effective_rank, layer),
        max(median_effective_rank), where_most(median_effective_rank, layer)
    )
    || coalesce(format('; random heads of the shape have {:.1f}.', median(chance_effective_rank)), '.') as sentence
from layer_ranks
group by model_id
order by model_id
