--| title = "How far each layer's spectra are from rescaled copies of an anchor layer's"
--| theme = "Rescaled copies"
--| reading = """
--| Each point is the mean over heads of what is left of the layer's spectrum after the best multiple of the anchor's \
--| (ANCHOR, the last layer by default) is taken away: 0 for a rescaled copy, as at the anchor itself. Dashed is \
--| chance, what two random heads leave. A mean over layers below 0.1 counts as supported, below 0.3 as partially \
--| supported."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = {size = 18}}
--| x = "layer:O"
--| y = "mean_residual:Q"
--| y_title = "mean residual, share of the spectrum's length"
--| color = "model_id:N"
--| strokeDash = "series:N"
--| facet = "operator:N"
--| rules = [{y = 0.1, label = "0.1"}, {y = 0.3, label = "0.3"}]
--| [parameters]
--| model = {}
--| anchor = {default = "last"}
with

residuals as (
    select model_id, operator, anchor_layer, layer, mean_residual, max_residual, n_heads
    from rescale_by_layer
    where
        is_chosen(model_id, $model)
        and is_anchor(model_id, operator, anchor_layer, $anchor, $model)
),

series as (
    select model_id, operator, anchor_layer, layer, 'measured' as series, mean_residual, max_residual, n_heads
    from residuals
    union all by name
    select
        residuals.model_id, residuals.operator, residuals.anchor_layer, residuals.layer, 'chance' as series,
        if(residuals.layer = residuals.anchor_layer, 0, chance.null_residual) as mean_residual
    from residuals
    inner join chance_cosines($model) as chance on residuals.model_id = chance.model_id
    where residuals.operator <> 'head_product'
)

select *
from series
order by model_id, operator, series desc, layer
