--| about = "the mean overlap of the other layers with the anchor layer, the nearest of them, and chance"
with

sides as (
    select
        model_id, anchor_layer, side,
        count(mean_overlap) as n_layers,
        avg(mean_overlap) as overlap,
        max_by(answer, (round(mean_overlap, 6), -layer)) filter (mean_overlap is not null) as nearest,
        max(mean_overlap) as highest,
        any_value(chance) as chance
    from answer
    group by model_id, anchor_layer, side
    having count(mean_overlap) > 0
)

select
    model_id,
    format(
        'The {} other layers overlap with layer {} by {}; random directions by {}.',
        max(n_layers), anchor_layer,
        string_agg(
            format(
                '{:.3f} in the mean on the {} side (most in layer {}: {:.3f} ± {:.3f} over heads)',
                overlap, side, nearest.layer, highest, nearest.std_over_heads
            ), ' and ' order by side
        ),
        said_chance(any_value(chance))
    ) as sentence
from sides
group by model_id, anchor_layer
order by model_id
