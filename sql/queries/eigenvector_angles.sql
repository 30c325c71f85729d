--| title = "How far do a head's leading eigenvectors turn away from those of an anchor layer?"
--| theme = "Same operator"
--| reading = """
--| Each point is one head in one layer: the mean principal angle, in degrees, between the span of its first K \
--| eigenvectors there and in the ANCHOR layer, where it is 0. The black line is chance: two random spans of that size \
--| among as many dimensions. Far below it, layers share directions."""
--| routine = "eigenvector_angles"
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "point", filled = true, size = 14, opacity = 0.55}
--| layers = [{mark = {type = "line", color = "black", strokeWidth = 1.5}, y = "chance_mean_angle_deg"}]
--| x = {shorthand = "layer:Q", axis = {tickMinStep = 1}}
--| y = {shorthand = "mean_angle_deg:Q", scale = {domain = [0, 90]}, axis = {values = [0, 15, 30, 45, 60, 75, 90]}}
--| y_title = "mean principal angle (degrees)"
--| facet = "model_id:N"
--| independent = ["x"]
--| [parameters]
--| model = {}
--| anchor = {default = "last"}
--| k = {default = 8}
with

anchored as (
    select model_id, layer as anchor_layer
    from measured_layers
    where
        is_anchor(model_id, 'metric', layer, $anchor, $model)
        -- the two that need no spectra, of which an imported model may have none
        or ($anchor = 'last' and position = n_measured - 1)
        or ($anchor = 'middle' and position = n_measured // 2)
)

select
    models.model_id, eigenvectors.head, eigenvectors.layer, eigenvectors.k, anchored.anchor_layer,
    -- the eigenvectors of nothing are whatever rounding made them
    if(head_descriptors.layer is not null and head_descriptors.op_norm is null, null, eigenvectors.vector) as vector
from eigenvectors
inner join models on eigenvectors.model_key = models.model_key
inner join anchored on models.model_id = anchored.model_id
left join head_descriptors
    on models.model_id = head_descriptors.model_id
    and eigenvectors.layer = head_descriptors.layer
    and eigenvectors.head = head_descriptors.head
    and head_descriptors.operator = 'metric'
where eigenvectors.k < $k and is_chosen(models.model_id, $model)
order by models.model_id, eigenvectors.head, eigenvectors.layer, eigenvectors.k
