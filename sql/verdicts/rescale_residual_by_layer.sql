--| about = "the mean residual of the other layers to the anchor, the nearest and the farthest of them, and that of random heads"
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
        rescale_by_layer.model_id, rescale_by_layer.operator, rescale_by_layer.anchor_layer,
        avg(rescale_by_layer.mean_residual) as mean_residual,
        count(rescale_by_layer.mean_residual) as n_layers,
        min(rescale_by_layer.mean_residual) as lowest_residual,
        max(rescale_by_layer.mean_residual) as highest_residual,
        -- of layers that tie within rounding, the first
        arg_min(
            rescale_by_layer.layer, (round(rescale_by_layer.mean_residual, 6), rescale_by_layer.layer)
        ) as nearest_layer,
        arg_max(
            rescale_by_layer.layer, (round(rescale_by_layer.mean_residual, 6), -rescale_by_layer.layer)
        ) filter (rescale_by_layer.mean_residual is not null) as farthest_layer
    from rescale_by_layer
    left join chosen
        on rescale_by_layer.model_id = chosen.model_id
        and rescale_by_layer.operator = chosen.operator
        and rescale_by_layer.anchor_layer = chosen.anchor_layer
    where
        ($model is null or rescale_by_layer.model_id = $model)
        and (chosen.anchor_layer is not null or rescale_by_layer.anchor_layer = try_cast($anchor as integer))
        and rescale_by_layer.layer <> rescale_by_layer.anchor_layer
    group by rescale_by_layer.model_id, rescale_by_layer.operator, rescale_by_layer.anchor_layer
    having count(rescale_by_layer.mean_residual) > 0
    -- the metric, or the first operator that an imported file has
    qualify row_number() over (
        partition by rescale_by_layer.model_id
        order by rescale_by_layer.operator <> 'metric', rescale_by_layer.operator
    ) = 1
)

select
    residuals.model_id,
    format(
        'Fitted to layer {}, the {} other layers leave {:.3f} of their spectra ({}) on average, from {:.3f} in layer {}'
        || ' to {:.3f} in layer {}',
        residuals.anchor_layer, residuals.n_layers, residuals.mean_residual, residuals.operator,
        residuals.lowest_residual, residuals.nearest_layer, residuals.highest_residual, residuals.farthest_layer
    )
    || coalesce(
        case
            when residuals.operator <> 'head_product'
                then format('; random heads leave {:.3f}.', null_cosines.null_residual)
        end,
        '.'
    ) as sentence
from residuals
inner join models on residuals.model_id = models.model_id
left join null_cosines
    on models.model_id = null_cosines.model_id
    and models.head_dim = null_cosines.head_dim
order by residuals.model_id
