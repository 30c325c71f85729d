--| about = "the share of heads' layers that pass for convergence points, and what is left of it without the decay"
with

layers as (
    select
        model_id, bottleneck_layer,
        sum(n_verdicts) filter (overlap = 'as measured') as n,
        sum(n_convergence_points) filter (overlap = 'as measured') as n_points,
        sum(n_verdicts) filter (overlap <> 'as measured') as n_detrended,
        sum(n_convergence_points) filter (overlap <> 'as measured') as n_points_detrended
    from answer
    where layers = 'before' -- each verdict stands beside both of its trends
    group by model_id, bottleneck_layer
),

totals as (
    select
        model_id,
        sum(n) as n,
        sum(n_points) as n_points,
        sum(n_detrended) as n_detrended,
        sum(n_points_detrended) as n_points_detrended,
        -- the first on a tie
        max_by(layers, (layers.n_points_detrended, -layers.bottleneck_layer)) as best
    from layers
    group by model_id
)

select
    model_id,
    case
        when n > 0 and n_detrended > 0 then format(
            'Taking every layer of every head and side with both trends ({}), {:.0f} % pass for a convergence point as'
            || ' measured and {:.0f} % without the decay with distance{}; without any trend 16 % would with three'
            || ' layers on each side, 4 % with ten.',
            n, 100 * n_points / n, 100 * n_points_detrended / n_detrended,
            if(
                n_points_detrended = 0, '',
                format(
                    ', most of them in layer {} ({} of {})',
                    best.bottleneck_layer, best.n_points_detrended, best.n_detrended
                )
            )
        )
        else 'No layer has trends on both sides, which takes three layers with varying overlap before it and after it.'
    end as sentence
from totals
order by model_id
