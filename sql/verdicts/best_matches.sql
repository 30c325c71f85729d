--| about = """
--| how often the nearest head has the same index, how often it would if the index meant nothing, and the overlaps"""
with

heads as (
    select
        *,
        other_head = head and other_layer != layer as is_same_index,
        -- a nearest head drawn from all others
        (count(*) over (partition by model_id, side, head) - 1)
        / (count(*) over (partition by model_id, side) - 1) as expected
    from best_matches
    where is_chosen(model_id, $model)
),

sides as (
    select
        model_id, side,
        count(overlap) as n_heads,
        avg(is_same_index::integer) as same_index,
        avg(expected) filter (overlap is not null) as expected,
        avg(overlap) as nearest,
        avg(mean_overlap) as all_heads,
        any_value(chance) as chance
    from heads
    group by model_id, side
    having count(overlap) > 0
)

select
    model_id,
    format(
        'Of {} heads, {}; random directions overlap by {}.',
        max(n_heads),
        string_agg(
            format(
                '{:.0f} % have their nearest at their own index in another layer on the {} side'
                || ' ({:.0f} % if the index meant nothing; overlap {:.3f} with the nearest, {:.3f} with all)',
                100 * same_index, side, 100 * expected, nearest, all_heads
            ), ', and ' order by side
        ),
        said_chance(any_value(chance))
    ) as sentence
from sides
group by model_id
order by model_id
