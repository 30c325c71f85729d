--| title = "How alike the spectra of the same head are in two layers"
--| theme = "Rescaled copies"
--| reading = """
--| Each cell is the mean over heads of the cosine of their spectra in two layers, 1 where one is a multiple of the \
--| other. Beside each model is chance, what random heads of the same shape have: near 1, so that a cosine of 0.95 is \
--| less alike than chance, not almost equal."""
--| [chart]
--| crowd = {some = "ask", many = "ask"}
--| mark = "rect"
--| x = "layer:O"
--| y = {shorthand = "other_layer:O", axis = {labelOverlap = true, labelSeparation = 3}}
--| color = {shorthand = "mean_cosine:Q", scale = {scheme = "viridis"}}
--| facet = "label:N"
--| facet_title = "model"
--| height = 240
--| independent = ["x", "y"]
--| [parameters]
--| model = {}
with

means as (
    select model_id, operator, layer, anchor_layer as other_layer, mean_cosine, n_heads
    from rescale_by_layer
    where is_chosen(model_id, $model)
    qualify is_first_operator(model_id, operator)
)

select
    means.model_id, means.operator,
    concat_ws(
        ' · ', means.model_id, nullif(means.operator, 'metric'), format('chance {:.5f}', chance.null_mean)
    ) as label,
    means.layer, means.other_layer,
    means.mean_cosine,
    chance.null_mean as chance_cosine,
    means.n_heads
from means
left join chance_cosines($model) as chance
    on means.model_id = chance.model_id
    and means.operator <> 'head_product'
order by means.model_id, means.layer, means.other_layer
