--| title = "Attention entropy against each spectral descriptor, head by head"
--| theme = "What predicts entropy"
--| reading = """
--| Each point is one head of the operator metric; a panel is one descriptor, with an axis of its own. Where entropy \
--| and a descriptor have nothing to do with each other a panel shows a cloud without a slope; pearson_r of the answer \
--| is of the values themselves, not of their logarithms."""
--| [chart]
--| mark = {type = "point", filled = true, size = 16, opacity = 0.6}
--| x = {shorthand = "descriptor_value:Q", scale = {type = "log", nice = false}, axis = {tickCount = 4, format = "~s"}}
--| x_title = "value (logarithmic)"
--| y = "entropy_nats:Q"
--| y_title = "entropy (nats)"
--| color = "model_id:N"
--| shape = "prompt_set:N"
--| facet = "descriptor:N"
--| columns = 4
--| width = 180
--| height = 150
--| independent = ["x"]
--| [chart.crowd]
--| some = "cells"
--| many = "distribution"
--| x = {shorthand = "pearson_r:Q", scale = {domain = [-1, 1]}}
--| x_title = "Pearson r with entropy"
--| y = "descriptor:N"
--| [parameters]
--| model = {}
with

heads as (
    from by_descriptor('head_predictors')
    where operator = 'metric' and descriptor_value is not null and is_chosen(model_id, $model)
)

select
    heads.model_id, heads.prompt_set, heads.descriptor, heads.layer, heads.head,
    heads.descriptor_value, heads.entropy_nats,
    descriptor_correlations.pearson_r,
    descriptor_correlations.pearson_low,
    descriptor_correlations.pearson_high
from heads
inner join descriptor_correlations
    on heads.model_id = descriptor_correlations.model_id
    and heads.operator = descriptor_correlations.operator
    and heads.prompt_set = descriptor_correlations.prompt_set
    and heads.descriptor = descriptor_correlations.descriptor
where
    descriptor_correlations.stratum = 'all' and descriptor_correlations.target = 'entropy_nats'
    and is_chosen(descriptor_correlations.model_id, $model)
order by heads.model_id, heads.prompt_set, heads.descriptor, heads.layer, heads.head
