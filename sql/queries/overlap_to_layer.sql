--| title = "Do the layers converge towards one of them?"
--| theme = "Depth"
--| reading = """
--| Each point is the mean over heads of the overlap of a layer's leading directions with those of the anchor layer \
--| (ANCHOR=last, middle, best, … or a layer's number), the band one standard deviation over heads; the dashed line is \
--| what random directions have. Overlap falls with distance around any layer, so a peak alone is no convergence: \
--| bottleneck_trends takes the decay out."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
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
select
    model_id,
    format('{}, anchor layer {}', model_id, other_layer) as panel,
    side, other_layer as anchor_layer, layer,
    mean as mean_overlap,
    std as std_over_heads,
    mean_overlap - std_over_heads as low,
    mean_overlap + std_over_heads as high,
    chance, n_heads
from overlaps_by_layer
where
    layer != other_layer
    and is_chosen(model_id, $model)
    and is_anchor(model_id, 'metric', other_layer, $anchor, $model)
order by model_id, side, layer
