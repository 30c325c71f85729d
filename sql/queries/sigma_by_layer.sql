--| title = "The largest singular value of each head's metric, by layer"
--| theme = "Spectra"
--| reading = "Each cell is one head: the largest score that two vectors of length 1 can have, before the model's own scale; the colours are logarithmic, yellow is large. Chance is no colour but a column: chance_op_norm is what random factors of the head's own norms would give, times_chance how many times that the head has."
--| [chart]
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
    where $model is null or model_id = $model
    -- the metric, or the first operator that an imported file has
    qualify dense_rank() over (partition by model_id order by operator <> 'metric', operator) = 1
),

null_norms as (
    select model_id, operator, layer, head, mean_sigma
    from null_head_spectra
    where
        k = 0
        and ($model is null or model_id = $model)
)

select
    norms.model_id, norms.operator, norms.layer, norms.head,
    if(norms.operator = 'metric', norms.model_id, norms.model_id || ' · ' || norms.operator) as label,
    norms.op_norm,
    null_norms.mean_sigma as chance_op_norm,
    norms.op_norm / nullif(null_norms.mean_sigma, 0) as times_chance
from norms
left join null_norms
    on norms.model_id = null_norms.model_id
    and norms.operator = null_norms.operator
    and norms.layer = null_norms.layer
    and norms.head = null_norms.head
order by norms.model_id, norms.layer, norms.head
