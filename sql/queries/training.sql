--| title = "How do the heads change in training?"
--| theme = "What is there"
--| reading = """
--| Each point is one revision of a model (REVISIONS=…), at the step that its name gives: medians and means over its \
--| heads, one panel a quantity. Cosines of random operators are 0 and those of random spectra near 1."""
--| [chart]
--| crowd = {some = "bands", many = "bands", where = "revision_order is not null"}
--| mark = {type = "line", point = true}
--| x = "revision_order:Q"
--| x_title = "training step"
--| y = {shorthand = "value:Q", scale = {zero = false}}
--| y_title = "value"
--| color = "name:N"
--| facet = "quantity:N"
--| independent = ["y"]
--| [parameters]
--| model = {}
with

quantities as (
    select model_id, 'median effective rank' as quantity, median(effective_rank) as value
    from head_descriptors
    where operator = 'metric' and is_chosen(model_id, $model)
    group by model_id
    union all
    select model_id, 'mean shape cosine', mean
    from shape_stability
    where operator = 'metric' and is_chosen(model_id, $model)
    union all
    select model_id, 'mean operator cosine of adjacent layers', max(adjacent_mean)
    from operator_verdicts
    where operator = 'metric' and is_chosen(model_id, $model)
    group by model_id
    union all
    select model_id, 'mean entropy, share of ln(keys in sight)', avg(entropy_fraction)
    from head_attention
    where is_chosen(model_id, $model)
    group by model_id
    union all
    select model_id, 'mean weight on the first token', avg(sink_weight)
    from head_attention
    where is_chosen(model_id, $model)
    group by model_id
)

select
    quantities.model_id,
    -- the stacks of a checkpoint are lines of their own
    models.name || coalesce('#' || models.stack, '') as name,
    models.revision,
    models.revision_order,
    quantities.quantity,
    quantities.value
from quantities
inner join models on quantities.model_id = models.model_id
order by name, models.revision_order, quantities.model_id, quantities.quantity
