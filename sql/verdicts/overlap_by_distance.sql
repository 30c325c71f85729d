--| about = "the mean overlap of neighbouring layers and of those furthest apart, with its spread over heads, and chance"
with

distances as (
    select
        model_id, side, distance,
        avg(mean) as overlap,
        stddev_pop(mean) as spread,
        count(mean) as n_heads,
        any_value(chance) as chance
    from overlap_by_distance
    where $model is null or model_id = $model
    group by model_id, side, distance
    having count(mean) > 0
),

ends as (
    select
        model_id, side,
        min_by(distances, distance) as nearest,
        max_by(distances, distance) as furthest,
        max(n_heads) as n_heads,
        any_value(chance) as chance
    from distances
    group by model_id, side
)

select
    model_id,
    format(
        'Over {} heads the mean overlap is {}; random directions have {} at any distance.',
        max(n_heads),
        string_agg(
            format(
                '{:.3f} ± {:.3f} at distance {} and {:.3f} ± {:.3f} at distance {} on the {} side',
                nearest.overlap, nearest.spread, nearest.distance,
                furthest.overlap, furthest.spread, furthest.distance, side
            ), ', ' order by side
        ),
        coalesce(format('{:.3f}', any_value(chance)), 'a level that is unknown without the hidden size')
    ) as sentence
from ends
group by model_id
order by model_id
