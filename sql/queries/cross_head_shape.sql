--| title = "Do the heads of a layer have spectra of one shape?"
--| theme = "Rescaled copies"
--| reading = """
--| Each point is the mean cosine of the spectra over pairs of heads of one layer, 1 where each is a multiple of every \
--| other. Dashed is chance, the mean cosine of random heads of the same shape: below it heads differ more than random \
--| ones."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = {size = 18}}
--| x = "layer:O"
--| y = {shorthand = "mean_cosine:Q", scale = {zero = false}}
--| color = "model_id:N"
--| strokeDash = "series:N"
--| facet = "operator:N"
--| [parameters]
--| model = {}
with

shapes as (
    select *
    from cross_head_shape
    where is_chosen(model_id, $model)
),

series as (
    select model_id, operator, layer, 'measured' as series, mean_cosine, n_heads, n_pairs
    from shapes
    union all by name
    select model_id, operator, layer, 'chance' as series, null_mean as mean_cosine
    from shapes
    where null_mean is not null
)

select *
from series
order by model_id, operator, series desc, layer
