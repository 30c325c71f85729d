--| title = "Do the MLPs read the directions that their layer's heads read?"
--| theme = "FFN and weights"
--| reading = """
--| By layer, the share of an MLP weight's energy that lies in a head's leading directions, as a multiple of chance \
--| (the dashed line at 1, what random directions hold); mean over heads and experts, the band one standard deviation. \
--| Dashed curves are the same weight on the same heads' directions in other layers: only where the solid curve leaves \
--| its dashed one does the layer matter."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = {size = 20}}
--| band = ["low", "high"]
--| x = {shorthand = "layer:Q", axis = {tickMinStep = 1, format = "d"}, scale = {nice = false}}
--| x_title = "layer"
--| y = "mean_ratio:Q"
--| y_title = "energy share / chance"
--| color = "weight:N"
--| strokeDash = "heads_of:N"
--| strokeDash_title = "heads of"
--| column = "side:N"
--| row = "model_id:N"
--| independent = ["x"]
--| rules = [{y = 1, label = "chance"}]
--| [parameters]
--| model = {}
with

ratios as (
    select
        model_id, side, layer, head, weight, chance,
        unnest([
            {'heads_of': 'the same layer', 'ratio': ratio},
            {'heads_of': 'other layers', 'ratio': if(ratio is null, null, other_layers_mean / chance)}
        ], recursive := true)
    from ffn_alignment
    where is_chosen(model_id, $model)
)

select
    model_id, side, layer, weight, heads_of,
    avg(ratio) as mean_ratio,
    stddev_pop(ratio) as std_over_heads,
    if(heads_of = 'the same layer', mean_ratio - std_over_heads, null) as low,
    if(heads_of = 'the same layer', mean_ratio + std_over_heads, null) as high,
    any_value(chance) as chance,
    count(distinct head) filter (ratio is not null) as n_heads
from ratios
group by model_id, side, layer, weight, heads_of
order by model_id, side, weight, heads_of desc, layer
