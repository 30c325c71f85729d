--| about = "the mean head's overlap over all pairs of layers, the pair that is most alike, and chance"
with

sides as (
    select
        model_id, side,
        count(mean) as n_pairs,
        avg(mean) as overlap,
        max(mean) as highest,
        arg_max({'layer': layer, 'other_layer': other_layer}, (round(mean, 9), -layer, -other_layer)) filter (mean is not null) as nearest,
        any_value(chance) as chance
    from overlaps_by_layer
    where
        layer < other_layer
        and ($model is null or model_id = $model)
    group by model_id, side
    having count(mean) > 0
)

select
    model_id,
    format(
        'Over {} pairs of layers the mean overlap is {}; random directions have {}.',
        max(n_pairs),
        string_agg(
            format(
                '{:.3f} on the {} side (layers {} and {} are most alike: {:.3f})',
                overlap, side, nearest.layer, nearest.other_layer, highest
            ), ' and ' order by side
        ),
        coalesce(format('{:.3f}', any_value(chance)), 'a level that is unknown without the hidden size')
    ) as sentence
from sides
group by model_id
order by model_id
