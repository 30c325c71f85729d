--| title = "The largest singular value of each head's metric, by layer"
--| theme = "Spectra"
--| reading = """
--| Each cell is one head: the largest score that two vectors of length 1 can have, before the model's own scale; the \
--| colours are logarithmic, yellow is large. Chance is no colour but a column: chance_op_norm is what random factors \
--| of the head's own norms would give, times_chance how many times that the head has."""
--| [chart]
--| crowd = {some = "ask", many = "ask"}
--| mark = "rect"
--| x = "layer:O"
--| y = {shorthand = "head:O", axis = {labelOverlap = true, labelSeparation = 3}}
--| color = {shorthand = "op_norm:Q", scale = {type = "log", scheme = "viridis"}}
--| color_title = "largest σ"
--| facet = "label:N"
--| facet_title = "model"
--| height = 240
--| independent = ["x", "y"]
--| [parameters]
--| model = {}
with

norms as (
    select model_id, operator, layer, head, op_norm
    from head_descriptors
    where is_chosen(model_id, $model)
    qualify is_first_operator(model_id, operator)
)

select
    norms.model_id, norms.operator, norms.layer, norms.head,
    if(norms.operator = 'metric', norms.model_id, norms.model_id || ' · ' || norms.operator) as label,
    norms.op_norm,
    chance.mean_sigma as chance_op_norm,
    norms.op_norm / nullif(chance.mean_sigma, 0) as times_chance
from norms
left join chance_norms($model) as chance using (model_id, operator, layer, head)
order by norms.model_id, norms.layer, norms.head
