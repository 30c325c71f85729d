--| title = "How alike the spectra of the same head are in two layers"
--| theme = "Rescaled copies"
--| reading = "Each cell is the mean over heads of the cosine of their spectra in two layers, 1 where one is a multiple of the other. Beside each model is chance, what random heads of the same shape have: near 1, so that a cosine of 0.95 is less alike than chance, not almost equal."
--| [chart]
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
    select model_id, operator, layer, other_layer, avg(cosine) as mean_cosine, count(cosine) as n_heads
    from shape_cosines
    where $model is null or model_id = $model
    group by model_id, operator, layer, other_layer
    -- the metric, or the first operator that an imported file has
    qualify dense_rank() over (partition by model_id order by operator <> 'metric', operator) = 1
)

select
    means.model_id, means.operator,
    concat_ws(
        ' · ', means.model_id, nullif(means.operator, 'metric'), format('chance {:.5f}', null_cosines.null_mean)
    ) as label,
    means.layer, means.other_layer,
    means.mean_cosine,
    null_cosines.null_mean as chance_cosine,
    means.n_heads
from means
inner join models on means.model_id = models.model_id
left join null_cosines
    on models.model_id = null_cosines.model_id
    and models.head_dim = null_cosines.head_dim
    and means.operator <> 'head_product'
order by means.model_id, means.layer, means.other_layer
