--| title = "Do heads converge towards a layer and part again after it?"
--| theme = "Depth"
--| reading = """
--| For every layer taken as a bottleneck, the mean over heads of the correlation of layer and overlap with it, over \
--| the layers before it and after it; the band is one standard deviation over heads. A convergence point has more \
--| than 0.3 before and less than -0.3 after; as measured, the decay of overlap with distance alone lets many layers \
--| pass, and only what is left on the right, where that decay is taken out and chance is about 0, can speak of the \
--| layer. Without any trend 16 % of layers pass with three others on each side, 4 % with ten."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = {size = 20}}
--| band = ["low", "high"]
--| x = {shorthand = "bottleneck_layer:Q", axis = {tickMinStep = 1, format = "d"}, scale = {nice = false}}
--| x_title = "layer taken as the bottleneck"
--| y = {shorthand = "mean_trend:Q", scale = {domain = [-1, 1], clamp = true}}
--| y_title = "Pearson r of overlap and layer"
--| color = "layers:N"
--| strokeDash = "side:N"
--| column = "overlap:N"
--| row = "model_id:N"
--| independent = ["x"]
--| rules = [{y = 0.3, label = "0.3"}, {y = 0, label = "chance"}, {y = -0.3, label = "-0.3"}]
--| [parameters]
--| model = {}
with

both_trends as (
    select
        model_id, side, bottleneck_layer, head,
        unnest([
            {'overlap': 'as measured', 'before': pre_trend, 'after': post_trend, 'verdict': verdict},
            {
                'overlap': 'minus its mean at the distance',
                'before': pre_trend_detrended, 'after': post_trend_detrended, 'verdict': verdict_detrended
            }
        ], recursive := true)
    from bottleneck_trends
    where is_chosen(model_id, $model)
),

trends as (
    select *, unnest(['before', 'after']) as layers, unnest([before, after]) as trend
    from both_trends
)

select
    model_id, side, overlap, layers, bottleneck_layer,
    avg(trend) as mean_trend,
    stddev_pop(trend) as std_over_heads,
    mean_trend - std_over_heads as low,
    mean_trend + std_over_heads as high,
    count(trend) as n_heads,
    count(*) filter (verdict = 'convergence point') as n_convergence_points,
    count(verdict) as n_verdicts
from trends
group by model_id, side, overlap, layers, bottleneck_layer
order by model_id, overlap, side, layers desc, bottleneck_layer
