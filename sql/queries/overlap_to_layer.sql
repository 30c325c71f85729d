--| title = "Do the layers converge towards one of them?"
--| theme = "Depth"
--| reading = "Each point is the mean over heads of the overlap of a layer's leading directions with those of the anchor layer (ANCHOR=last, middle, best, … or a layer's number), the band one standard deviation over heads; the dashed line is what random directions have. Overlap falls with distance around any layer, so a peak alone is no convergence: bottleneck_trends takes the decay out."
--| [chart]
--| mark = {type = "line", point = true}
--| band = ["low", "high"]
--| x = {shorthand = "layer:Q", axis = {tickMinStep = 1, format = "d"}, scale = {nice = false}}
--| x_title = "layer"
--| y = {shorthand = "mean_overlap:Q", scale = {domainMin = 0, clamp = true}}
--| y_title = "overlap with the anchor layer (0 to 1)"
--| color = "side:N"
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x"]
--| rules = [{y = "chance", label = "chance"}]
--| [parameters]
--| model = {}
--| anchor = {default = "last"}
with

asked as (
    select model_id, anchor_layer
    from anchors
    where operator = 'metric' and anchor = $anchor::varchar
    union
    select model_id, layer
    from measured_layers
    where layer = try_cast($anchor as integer)
)

select
    overlaps_by_layer.model_id,
    format('{}, anchor layer {}', overlaps_by_layer.model_id, asked.anchor_layer) as panel,
    overlaps_by_layer.side, asked.anchor_layer, overlaps_by_layer.layer,
    overlaps_by_layer.mean as mean_overlap,
    overlaps_by_layer.std as std_over_heads,
    mean_overlap - std_over_heads as low,
    mean_overlap + std_over_heads as high,
    overlaps_by_layer.chance, overlaps_by_layer.n_heads
from overlaps_by_layer
inner join asked
    on overlaps_by_layer.model_id = asked.model_id
    and overlaps_by_layer.other_layer = asked.anchor_layer
where
    overlaps_by_layer.layer != asked.anchor_layer
    and ($model is null or overlaps_by_layer.model_id = $model)
order by overlaps_by_layer.model_id, overlaps_by_layer.side, overlaps_by_layer.layer
