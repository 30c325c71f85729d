--| title = "Which spectral descriptors go with attention entropy, in all layers and in each third?"
--| theme = "What predicts entropy"
--| reading = """
--| Each point is Pearson's r over the heads of the operator metric, in all layers or in the early, middle or late \
--| third of them; its bar is a 95% interval by leaving out one layer at a time, which takes three layers. Chance is \
--| 0: a bar that crosses it leaves the sign open."""
--| [chart]
--| crowd = {some = "cells", many = "distribution"}
--| mark = {type = "point", filled = true, size = 40, opacity = 1}
--| layers = [{mark = {type = "rule", strokeWidth = 1.5}, x = "pearson_low", x2 = "pearson_high"}]
--| rules = [{x = 0, label = ""}]
--| x = {shorthand = "pearson_r:Q", scale = {domain = [-1, 1]}, axis = {values = [-1, -0.5, 0, 0.5, 1]}}
--| x_title = "Pearson r with entropy"
--| y = {shorthand = "descriptor:N", title = ""}
--| yOffset = "model_id:N"
--| color = "model_id:N"
--| column = "stratum:N"
--| row = "prompt_set:N"
--| width = 160
--| height = 360
--| [parameters]
--| model = {}
select model_id, prompt_set, stratum, descriptor, n, n_layers, pearson_r, pearson_low, pearson_high
from descriptor_correlations
where
    operator = 'metric' and target = 'entropy_nats'
    and is_chosen(model_id, $model)
order by model_id, prompt_set, list_position(['all', 'early', 'mid', 'late'], stratum), descriptor
