--| about = "the layer after which overlap falls most often, how often it would by chance, and the largest fall"
with

falls as (
    select *
    from phase_boundaries
    where
        rank < $k
        and ($model is null or model_id = $model)
),

depths as (
    select model_id, max(n_measured) as n_measured
    from measured_layers
    group by model_id
),

boundaries as (
    select model_id, from_layer, count(*) as n_falls, avg(change) as mean_change
    from falls
    group by model_id, from_layer
),

totals as (
    select
        model_id,
        count(*) as n_falls,
        min(change) as largest,
        -- of falls that tie within rounding, the first
        min_by(falls, (round(change, 6), from_layer, head, side)) as place
    from falls
    group by model_id
),

common as (
    select
        model_id,
        max(n_falls) as n_falls,
        -- the earliest on a tie
        arg_max(from_layer, (n_falls, -from_layer)) as from_layer,
        arg_max(mean_change, (n_falls, -from_layer)) as mean_change
    from boundaries
    group by model_id
)

select
    totals.model_id,
    format(
        'Of the {} largest falls ({} at most of each head and side), {} lie after layer {} (mean change {:.3f}), where {:.1f}'
        || ' would if they lay anywhere; the largest is {:.3f}, after layer {} (head {}, {} side).',
        totals.n_falls, $k::integer, common.n_falls, common.from_layer, common.mean_change,
        totals.n_falls / (depths.n_measured - 2), totals.largest, totals.place.from_layer, totals.place.head, totals.place.side
    ) as sentence
from totals
inner join common on totals.model_id = common.model_id
inner join depths on totals.model_id = depths.model_id
order by totals.model_id
