--| about = "the mean head's overlap over all pairs of layers, the pair that is most alike, and chance"
with

sides as (
    select
        model_id, side,
        count(overlap) as n_pairs,
        avg(overlap) as overlap,
        max(answer.overlap) as highest,
        where_most(answer.overlap, layer, other_layer) as nearest,
        any_value(chance) as chance
    from answer
    where layer < other_layer
    group by model_id, side
    having count(answer.overlap) > 0
)

select
    model_id,
    format(
        'Over {} pairs of layers the mean overlap is {}; random directions have {}.',
        max(n_pairs),
        string_agg(
            format(
                '{:.3f} on the {} side (layers {} and {} are most alike: {:.3f})',
                overlap, side, nearest[1], nearest[2], highest
            ), ' and ' order by side
        ),
        said_chance(any_value(chance))
    ) as sentence
from sides
group by model_id
order by model_id
