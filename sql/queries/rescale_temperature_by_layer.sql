--| title = "By what factor each layer's spectra are larger than an anchor layer's"
--| theme = "Rescaled copies"
--| reading = """
--| Each point is the mean over heads of the temperature, the factor that brings the anchor's spectrum (ANCHOR, the \
--| last layer by default) nearest to the layer's; 1 at the anchor. Dashed is chance: the factor between random \
--| heads with the norms that the weights have, so that what follows the dashes says nothing but how large the weights \
--| are."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
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

temperatures as (
    select model_id, operator, anchor_layer, layer, mean_temperature, n_heads
    from rescale_by_layer
    where
        is_chosen(model_id, $model)
        and is_anchor(model_id, operator, anchor_layer, $anchor, $model)
),

series as (
    select model_id, operator, anchor_layer, layer, 'measured' as series, mean_temperature, n_heads
    from temperatures
    union all
    select
        temperatures.model_id, temperatures.operator, temperatures.anchor_layer, temperatures.layer, 'chance',
        avg(sizes.mean_sigma / nullif(anchor_sizes.mean_sigma, 0)),
        count(nullif(anchor_sizes.mean_sigma, 0))
    from temperatures
    -- null spectra of one shape differ by their scale alone, so the first value gives it
    inner join chance_norms($model) as sizes using (model_id, operator, layer)
    inner join chance_norms($model) as anchor_sizes
        on sizes.model_id = anchor_sizes.model_id
        and sizes.operator = anchor_sizes.operator
        and sizes.head = anchor_sizes.head
        and temperatures.anchor_layer = anchor_sizes.layer
    group by temperatures.model_id, temperatures.operator, temperatures.anchor_layer, temperatures.layer
)

select *
from series
order by model_id, operator, series desc, layer
