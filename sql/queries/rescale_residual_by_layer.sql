--| title = "How far each layer's spectra are from rescaled copies of an anchor layer's"
--| theme = "Rescaled copies"
--| reading = "Each point is the mean over heads of what is left of the layer's spectrum after the best multiple of the anchor's (ANCHOR, the last layer where not said) is taken away: 0 for a rescaled copy, as at the anchor itself. Dashed is chance, what two random heads leave. A mean over layers below 0.1 counts as supported, below 0.3 as partially supported."
--| [chart]
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

-- filtered before the join, which would ask for the anchors of every model
chosen as (
    select model_id, operator, anchor_layer
    from anchors
    where
        anchor = $anchor
        and ($model is null or model_id = $model)
),

residuals as (
    select
        rescale_by_layer.model_id, rescale_by_layer.operator, rescale_by_layer.anchor_layer, rescale_by_layer.layer,
        rescale_by_layer.mean_residual, rescale_by_layer.max_residual, rescale_by_layer.n_heads
    from rescale_by_layer
    left join chosen
        on rescale_by_layer.model_id = chosen.model_id
        and rescale_by_layer.operator = chosen.operator
        and rescale_by_layer.anchor_layer = chosen.anchor_layer
    where
        ($model is null or rescale_by_layer.model_id = $model)
        and (chosen.anchor_layer is not null or rescale_by_layer.anchor_layer = try_cast($anchor as integer))
),

series as (
    select model_id, operator, anchor_layer, layer, 'measured' as series, mean_residual, max_residual, n_heads
    from residuals
    union all by name
    select
        residuals.model_id, residuals.operator, residuals.anchor_layer, residuals.layer, 'chance' as series,
        if(residuals.layer = residuals.anchor_layer, 0, null_cosines.null_residual) as mean_residual
    from residuals
    inner join models on residuals.model_id = models.model_id
    inner join null_cosines
        on models.model_id = null_cosines.model_id
        and models.head_dim = null_cosines.head_dim
    where residuals.operator <> 'head_product'
)

select *
from series
order by model_id, operator, series desc, layer
