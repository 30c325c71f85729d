--| about = "the smallest and the largest mean temperature to the anchor, and how far the sizes of the weights alone explain it"
with

-- filtered before the join, which would ask for the anchors of every model
chosen as (
    select model_id, operator, anchor_layer
    from anchors
    where
        anchor = $anchor
        and ($model is null or model_id = $model)
),

temperatures as (
    select
        rescale_by_layer.model_id, rescale_by_layer.operator, rescale_by_layer.anchor_layer, rescale_by_layer.layer,
        rescale_by_layer.mean_temperature,
        -- layers that tie within rounding tie in this
        round(rescale_by_layer.mean_temperature, 6) as rounded_temperature
    from rescale_by_layer
    left join chosen
        on rescale_by_layer.model_id = chosen.model_id
        and rescale_by_layer.operator = chosen.operator
        and rescale_by_layer.anchor_layer = chosen.anchor_layer
    where
        ($model is null or rescale_by_layer.model_id = $model)
        and (chosen.anchor_layer is not null or rescale_by_layer.anchor_layer = try_cast($anchor as integer))
        and rescale_by_layer.mean_temperature is not null
    -- the metric, or the first operator that an imported file has
    qualify dense_rank() over (
        partition by rescale_by_layer.model_id
        order by rescale_by_layer.operator <> 'metric', rescale_by_layer.operator
    ) = 1
),

null_sizes as (
    select model_id, operator, layer, head, mean_sigma
    from null_head_spectra
    where
        k = 0
        and ($model is null or model_id = $model)
),

-- head by head the null spectra of two layers differ by one factor
null_temperatures as (
    select
        sizes.model_id, sizes.operator, anchor_sizes.layer as anchor_layer, sizes.layer,
        avg(sizes.mean_sigma / nullif(anchor_sizes.mean_sigma, 0)) as null_temperature
    from null_sizes as sizes
    inner join null_sizes as anchor_sizes
        on sizes.model_id = anchor_sizes.model_id
        and sizes.operator = anchor_sizes.operator
        and sizes.head = anchor_sizes.head
    group by sizes.model_id, sizes.operator, anchor_sizes.layer, sizes.layer
)

select
    temperatures.model_id,
    format(
        'Over {} layers the mean temperature to layer {} ({}) runs from {:.2f} in layer {} to {:.2f} in layer {}',
        count(*), any_value(temperatures.anchor_layer), any_value(temperatures.operator),
        min(temperatures.mean_temperature),
        arg_min(temperatures.layer, (temperatures.rounded_temperature, temperatures.layer)),
        max(temperatures.mean_temperature),
        arg_max(temperatures.layer, (temperatures.rounded_temperature, -temperatures.layer))
    )
    || coalesce(
        format(
            '; by the norms of the weights alone random heads would have from {:.2f} to {:.2f}.',
            min(null_temperatures.null_temperature), max(null_temperatures.null_temperature)
        ),
        '.'
    ) as sentence
from temperatures
left join null_temperatures
    on temperatures.model_id = null_temperatures.model_id
    and temperatures.operator = null_temperatures.operator
    and temperatures.anchor_layer = null_temperatures.anchor_layer
    and temperatures.layer = null_temperatures.layer
group by temperatures.model_id
order by temperatures.model_id
