--| title = "Weight ranks, overlaps and MLP alignment over depth, each on its own scale"
--| theme = "Depth"
--| reading = """
--| Four profiles of a model, each stretched so that its lowest layer is 0 and its highest 1: curves that run together \
--| suggest one cause, and profile_correlations says how far that goes beyond chance. The dashed line is the \
--| bottleneck, the layer whose weights use the smallest share of their directions."""
--| [chart]
--| crowd = {some = "cells", many = "bands", rules = []}
--| mark = {type = "line", point = {size = 20}}
--| x = {shorthand = "layer:Q", axis = {tickMinStep = 1, format = "d"}, scale = {nice = false}}
--| x_title = "layer"
--| y = "normalized:Q"
--| y_title = "from the lowest (0) to the highest layer (1)"
--| color = "profile:N"
--| column = "side:N"
--| row = "model_id:N"
--| independent = ["x"]
--| rules = [{x = "bottleneck_layer", label = "bottleneck"}]
--| [parameters]
--| model = {}
with

profiles as (
    select
        layer_profiles.model_id, layer_profiles.side, layer_profiles.layer, layer_profiles.chance,
        bottlenecks.layer as bottleneck_layer,
        unnest([
            {'place': 0, 'profile': 'effective rank of weights', 'value': layer_profiles.mean_effective_rank},
            {'place': 1, 'profile': 'overlap with the next layer', 'value': layer_profiles.adjacent_overlap},
            {'place': 2, 'profile': 'overlap with the bottleneck', 'value': layer_profiles.bottleneck_overlap},
            {'place': 3, 'profile': 'MLP alignment', 'value': layer_profiles.ffn_alignment}
        ], recursive := true)
    from layer_profiles
    left join bottlenecks
        on layer_profiles.model_id = bottlenecks.model_id
        and is_chosen(bottlenecks.model_id, $model)
    where is_chosen(layer_profiles.model_id, $model)
)

select
    model_id, side, profile, layer, bottleneck_layer, value,
    (value - min(value) over own) / nullif(max(value) over own - min(value) over own, 0) as normalized,
    if(place = 0, null, chance) as chance
from profiles
window own as (partition by model_id, side, profile)
order by model_id, side, place, layer
