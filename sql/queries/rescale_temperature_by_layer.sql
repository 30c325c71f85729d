--| title = "By what factor each layer's spectra are larger than an anchor layer's"
--| theme = "Rescaled copies"
--| reading = "Each point is the mean over heads of the temperature, the factor that brings the anchor's spectrum (ANCHOR, the last layer where not said) nearest to the layer's; 1 at the anchor. Dashed is chance: the factor between random heads with the norms that the weights have, so that what follows the dashes says nothing but how large the weights are."
--| [chart]
--| mark = {type = "line", point = {size = 18}}
--| x = "layer:O"
--| y = {shorthand = "mean_temperature:Q", scale = {type = "log", nice = false}}
--| y_title = "mean temperature (logarithmic)"
--| color = "model_id:N"
--| strokeDash = "series:N"
--| facet = "operator:N"
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

temperatures as (
    select
        rescale_by_layer.model_id, rescale_by_layer.operator, rescale_by_layer.anchor_layer, rescale_by_layer.layer,
        rescale_by_layer.mean_temperature, rescale_by_layer.n_heads
    from rescale_by_layer
    left join chosen
        on rescale_by_layer.model_id = chosen.model_id
        and rescale_by_layer.operator = chosen.operator
        and rescale_by_layer.anchor_layer = chosen.anchor_layer
    where
        ($model is null or rescale_by_layer.model_id = $model)
        and (chosen.anchor_layer is not null or rescale_by_layer.anchor_layer = try_cast($anchor as integer))
),

-- null spectra of one shape differ by their scale alone, so the first value tells it
null_sizes as (
    select model_id, operator, layer, head, mean_sigma
    from null_head_spectra
    where
        k = 0
        and ($model is null or model_id = $model)
),

series as (
    select model_id, operator, anchor_layer, layer, 'measured' as series, mean_temperature, n_heads
    from temperatures
    union all
    select
        temperatures.model_id, temperatures.operator, temperatures.anchor_layer, temperatures.layer, 'chance',
        avg(null_sizes.mean_sigma / nullif(anchor_sizes.mean_sigma, 0)),
        count(nullif(anchor_sizes.mean_sigma, 0))
    from temperatures
    inner join null_sizes using (model_id, operator, layer)
    inner join null_sizes as anchor_sizes
        on null_sizes.model_id = anchor_sizes.model_id
        and null_sizes.operator = anchor_sizes.operator
        and null_sizes.head = anchor_sizes.head
        and temperatures.anchor_layer = anchor_sizes.layer
    group by temperatures.model_id, temperatures.operator, temperatures.anchor_layer, temperatures.layer
)

select *
from series
order by model_id, operator, series desc, layer
