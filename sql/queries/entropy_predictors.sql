--| title = "How surely does each spectral descriptor go with attention entropy?"
--| theme = "What predicts entropy"
--| reading = """
--| Each point is Pearson's r over a model's heads, its bar a 95% interval from 1,000 draws of whole layers; chance is \
--| 0. permutation_p, in the tooltip and the answer, is the chance that heads given each other's entropies would reach \
--| this r with any of the ten descriptors."""
--| routine = "entropy_predictors"
--| [chart]
--| crowd = {some = "cells", many = "ask"}
--| mark = {type = "point", filled = true, size = 40, opacity = 1}
--| layers = [{mark = {type = "rule", strokeWidth = 1.5}, x = "pearson_low", x2 = "pearson_high"}]
--| rules = [{x = 0, label = ""}]
--| x = {shorthand = "pearson_r:Q", scale = {domain = [-1, 1]}, axis = {values = [-1, -0.5, 0, 0.5, 1]}}
--| x_title = "Pearson r with entropy"
--| y = {shorthand = "descriptor:N", title = ""}
--| yOffset = "operator:N"
--| color = "operator:N"
--| shape = "prompt_set:N"
--| facet = "model_id:N"
--| height = 280
--| [parameters]
--| model = {}
select 'entropy_nats' as target, entropy_nats as outcome, * exclude (
    stratum, entropy_nats, logit_std, entropy_without_sink_nats
)
from head_predictors
where
    operator in ('metric', 'head_product')
    and is_chosen(model_id, $model)
order by model_id, operator, prompt_set, layer, head
