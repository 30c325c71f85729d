--| about = "the layer after which overlap falls most often, how often it would by chance, and the largest fall"
with

depths as (
    select model_id, max(n_measured) as n_measured
    from measured_layers
    group by model_id
),

boundaries as (
    select
        model_id, from_layer,
        count(*) as n,
        avg(change) as mean_change,
        min(change) as largest,
        -- of falls that tie within rounding, the first
        min_by(answer, (round(change, 6), from_layer, head, side)) as place
    from answer
    group by model_id, from_layer
),

totals as (
    select
        model_id,
        sum(n)::bigint as n_falls,
        -- the earliest on a tie
        max_by(boundaries, (n, -from_layer)) as common,
        min(largest) as largest,
        min_by(place, (round(place.change, 6), from_layer)) as place
    from boundaries
    group by model_id
)

select
    totals.model_id,
    format(
        'Of the {} largest falls ({} at most of each head and side), {} lie after layer {} (mean change {:.3f}), where'
        || ' {:.1f} would if they lay anywhere; the largest is {:.3f}, after layer {} (head {}, {} side).',
        totals.n_falls, $k::integer, totals.common.n, totals.common.from_layer, totals.common.mean_change,
        totals.n_falls / (depths.n_measured - 2),
        totals.largest, totals.place.from_layer, totals.place.head, totals.place.side
    ) as sentence
from totals
inner join depths on totals.model_id = depths.model_id
order by totals.model_id
