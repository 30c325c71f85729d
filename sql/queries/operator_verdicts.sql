--| title = "Is one operator in all layers? Each layer as the anchor"
--| theme = "Same operator"
--| reading = """
--| Each point is a layer taken as the anchor: the mean over all other layers of the head-mean cosine with its \
--| operator. Above 0.9 the verdict is strong, above 0.5 medium, above 0.1 weak, else rejected; chance is 0. verdict \
--| counts the anchor itself too, which adds about 1 / layers."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = true}
--| x = {shorthand = "anchor_layer:O"}
--| y = "mean_cosine_to_others:Q"
--| y_title = "mean cosine with the other layers"
--| color = "model_id:N"
--| facet = "operator:N"
--| rules = [{y = 0.9, label = "strong"}, {y = 0.5, label = "medium"}, {y = 0.1, label = "weak"}, {y = 0, label = ""}]
--| [parameters]
--| model = {}
--| operator = {default = "metric"}
select
    model_id, operator, anchor_layer,
    mean_cosine_to_others, mean_cosine_to_anchor, adjacent_mean, adjacent_min, adjacent_max, n_layers,
    verdict_others, verdict
from operator_verdicts
where operator = $operator and is_chosen(model_id, $model)
order by model_id, operator, anchor_layer
