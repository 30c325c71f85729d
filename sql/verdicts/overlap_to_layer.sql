--| about = "the mean overlap of the other layers with the anchor layer, the nearest of them, and chance"
with

asked as (
    select model_id, anchor_layer
    from anchors
    where operator = 'metric' and anchor = $anchor::varchar
    union
    select model_id, layer
    from measured_layers
    where layer = try_cast($anchor as integer)
),

sides as (
    select
        overlaps_by_layer.model_id, asked.anchor_layer, overlaps_by_layer.side,
        count(overlaps_by_layer.mean) as n_layers,
        avg(overlaps_by_layer.mean) as overlap,
        max(overlaps_by_layer.mean) as highest,
        arg_max(overlaps_by_layer.layer, (round(overlaps_by_layer.mean, 9), -overlaps_by_layer.layer)) filter (overlaps_by_layer.mean is not null) as nearest,
        arg_max(overlaps_by_layer.std, (round(overlaps_by_layer.mean, 9), -overlaps_by_layer.layer)) filter (overlaps_by_layer.mean is not null) as spread,
        any_value(overlaps_by_layer.chance) as chance
    from overlaps_by_layer
    inner join asked
        on overlaps_by_layer.model_id = asked.model_id
        and overlaps_by_layer.other_layer = asked.anchor_layer
    where
        overlaps_by_layer.layer != asked.anchor_layer
        and ($model is null or overlaps_by_layer.model_id = $model)
    group by overlaps_by_layer.model_id, asked.anchor_layer, overlaps_by_layer.side
    having count(overlaps_by_layer.mean) > 0
)

select
    model_id,
    format(
        'The {} other layers overlap with layer {} by {}; random directions by {}.',
        max(n_layers), anchor_layer,
        string_agg(
            format(
                '{:.3f} in the mean on the {} side (most in layer {}: {:.3f} ± {:.3f} over heads)',
                overlap, side, nearest, highest, spread
            ), ' and ' order by side
        ),
        coalesce(format('{:.3f}', any_value(chance)), 'a level that is unknown without the hidden size')
    ) as sentence
from sides
group by model_id, anchor_layer
order by model_id
