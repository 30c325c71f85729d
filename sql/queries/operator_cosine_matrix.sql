--| title = "Cosine of the attention operators of two layers, mean over heads"
--| theme = "Same operator"
--| reading = """
--| Each cell is a pair of layers: the mean over heads of the cosine of their operators. Orange where one is near a \
--| positive multiple of the other, blue near a negative one; chance is 0, with a std of 1 / (hidden size √heads). The \
--| diagonal, 1 by definition, is left out."""
--| [chart]
--| crowd = {some = "ask", many = "ask"}
--| mark = "rect"
--| x = "other_layer:O"
--| y = {shorthand = "layer:O", axis = {labelOverlap = true}}
--| color = {shorthand = "mean_cosine:Q", scale = {scheme = "blueorange", domainMid = 0}}
--| color_title = "mean cosine"
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x", "y"]
--| width = 280
--| height = 280
--| [parameters]
--| model = {}
--| operator = {default = "metric"}
select
    model_id, operator, layer, other_layer,
    model_id || ', ' || operator as panel,
    mean_cosine, std_cosine, chance_std_cosine, n_heads
from operator_cosines_by_layer
where layer <> other_layer and operator = $operator and is_chosen(model_id, $model)
order by model_id, operator, layer, other_layer
