--| about = "the correlations of the profiles over layers, with 95 % intervals, by side"
with

correlations as (
    select
        model_id, side, pair, n, pearson_r,
        format('{} r = {:.2f}', replace(replace(replace(pair, '~', ' with '), 'ffn', 'MLP'), '_', ' '), pearson_r)
        || coalesce(format(' [{:.2f}, {:.2f}]', pearson_low, pearson_high), '') as said
    from profile_correlations
    where is_chosen(model_id, $model)
),

sides as (
    select
        model_id, side,
        max(n) filter (pearson_r is not null) as n,
        string_agg(said, ', ' order by pair) as said
    from correlations
    group by model_id, side
)

select
    model_id,
    coalesce(
        format(
            'Over up to {} layers, with 95 % intervals as if layers were independent: {}; r is 0 by chance.',
            max(n),
            string_agg(format('{} side: {}', side, said), '; ' order by side) filter (said is not null)
        ),
        'Too few layers, or too little that varies over them, to correlate the profiles.'
    ) as sentence
from sides
group by model_id
order by model_id
