--| about = """
--| the mean alignment of each side and weight as a multiple of chance, beside that of other layers' directions"""
with

weights as (
    select
        model_id, side, weight,
        avg(ratio) as own,
        stddev_pop(ratio) as spread,
        avg(other_layers_mean / chance) filter (ratio is not null) as others,
        count(distinct layer) filter (ratio is not null) as n_layers
    from ffn_alignment
    where is_chosen(model_id, $model)
    group by model_id, side, weight
)

select
    model_id,
    coalesce(
        format(
            'Over {} layers the energy share is {}; 1 is chance.',
            max(n_layers),
            string_agg(
                format('{:.2f} ± {:.2f} times chance for {} ({} side', own, spread, weight, side)
                || coalesce(format('; {:.2f} on other layers'' directions)', others), ')'), ', ' order by side, weight
            ) filter (n_layers > 0)
        ),
        'Chance is unknown without the hidden size.'
    ) as sentence
from weights
group by model_id
order by model_id
