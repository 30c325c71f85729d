--| title = "Where heads change their directions most abruptly"
--| theme = "Depth"
--| reading = """
--| Each point is one of the K largest falls of a head's adjacent overlap, at the layer after which it falls: points \
--| of many heads above one layer are a boundary of the model. The largest falls of a head are below 0 by selection \
--| alone; what random directions would show is a fall of 0 everywhere."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "point", filled = true, size = 36, opacity = 0.6}
--| x = {shorthand = "from_layer:Q", axis = {tickMinStep = 1, format = "d"}, scale = {nice = false}}
--| x_title = "last layer before the boundary"
--| y = "change:Q"
--| y_title = "change of adjacent overlap"
--| color = "side:N"
--| facet = "model_id:N"
--| independent = ["x"]
--| rules = [{y = 0, label = "chance"}]
--| [parameters]
--| model = {}
--| k = {default = 3}
select model_id, head, side, rank, from_layer, to_layer, overlap, change, chance
from phase_boundaries
where
    rank < $k
    and is_chosen(model_id, $model)
order by model_id, side, head, rank
