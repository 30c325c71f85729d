--| title = "Is a head nearer to itself in other layers than to any other head?"
--| theme = "Depth"
--| reading = """
--| By layer, the mean over heads of the overlap with the nearest head anywhere in the model, with the same head of \
--| the next layer, and with all other heads; the band is one standard deviation over heads, the dashed line what \
--| random directions have. The nearest of many is above the mean by selection; the same head is no more than an index \
--| where its line lies on that of all heads."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = true}
--| band = ["low", "high"]
--| x = {shorthand = "layer:Q", axis = {tickMinStep = 1, format = "d"}, scale = {nice = false}}
--| x_title = "layer"
--| y = {shorthand = "mean_overlap:Q", scale = {domainMin = 0, clamp = true}}
--| y_title = "overlap (0 to 1)"
--| color = "compared_with:N"
--| color_title = "compared with"
--| column = "side:N"
--| row = "model_id:N"
--| independent = ["x"]
--| rules = [{y = "chance", label = "chance"}]
--| [parameters]
--| model = {}
with

nearest as (
    select
        model_id, side, layer,
        unnest([
            {'compared_with': 'nearest head', 'overlap': overlap},
            {'compared_with': 'all heads', 'overlap': mean_overlap}
        ], recursive := true),
        chance
    from best_matches
    where is_chosen(model_id, $model)
),

compared as (
    select
        model_id, side, layer, compared_with,
        avg(overlap) as mean_overlap,
        stddev_pop(overlap) as std_over_heads,
        any_value(chance) as chance,
        count(overlap) as n_heads
    from nearest
    group by model_id, side, layer, compared_with
    union all
    select model_id, side, layer, 'same head, next layer', mean, std, chance, n_heads
    from with_distance('overlaps_by_layer')
    where distance = 1 and is_chosen(model_id, $model)
)

select
    model_id, side, layer, compared_with, mean_overlap, std_over_heads,
    mean_overlap - std_over_heads as low,
    mean_overlap + std_over_heads as high,
    chance, n_heads
from compared
-- the legend follows the rows
order by model_id, side, list_position(['nearest head', 'same head, next layer', 'all heads'], compared_with), layer
