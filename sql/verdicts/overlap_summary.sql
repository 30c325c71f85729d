--| about = "how many heads have each verdict by side, and the mean gap, which is 0 by chance"
with

sides as (
    select
        model_id, side,
        count(gap) as n_heads,
        count(*) filter (verdict = 'phase structure') as n_phases,
        count(*) filter (verdict = 'redundant') as n_redundant,
        avg(gap) as mean_gap,
        stddev_pop(gap) as spread
    from answer
    group by model_id, side
)

select
    model_id,
    coalesce(
        'Heads with phase structure: ' || string_agg(
            format(
                '{} of {} on the {} side ({} redundant, mean gap {:.3f} ± {:.3f})',
                n_phases, n_heads, side, n_redundant, mean_gap, spread
            ), ', ' order by side
        ) filter (n_heads > 0) || '; the gap is 0 by chance.',
        'Too few layers to compare adjacent ones with distant ones.'
    ) as sentence
from sides
group by model_id
order by model_id
