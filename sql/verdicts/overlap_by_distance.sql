--| about = """
--| the mean overlap of neighbouring layers and of those furthest apart, with its spread over heads, and chance"""
with

ends as (
    select
        model_id, side,
        min_by(answer, distance) as nearest,
        max_by(answer, distance) as furthest,
        max(n_heads) as n_heads,
        any_value(chance) as chance
    from answer
    where n_heads > 0
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
                nearest.mean_overlap, nearest.std_over_heads, nearest.distance,
                furthest.mean_overlap, furthest.std_over_heads, furthest.distance, side
            ), ', ' order by side
        ),
        said_chance(any_value(chance))
    ) as sentence
from ends
group by model_id
order by model_id
