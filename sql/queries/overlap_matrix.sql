--| title = "Which layers read by the same directions"
--| theme = "Depth"
--| reading = """
--| Each cell is the mean over heads of the overlap (mean cos² of the principal angles) of a head's leading directions \
--| in two layers; the diagonal, 1 by definition, is left out. Random directions overlap by the chance level beside \
--| the model's name: blocks well above it are layers that repeat each other."""
--| [chart]
--| crowd = {some = "ask", many = "ask"}
--| mark = "rect"
--| x = "layer:O"
--| y = {shorthand = "other_layer:O", title = "other layer"}
--| color = {shorthand = "overlap:Q", scale = {zero = true}}
--| color_title = "overlap"
--| column = "side:N"
--| row = "panel:N"
--| row_title = "model"
--| independent = ["x", "y"]
--| width = 320
--| height = 260
--| [parameters]
--| model = {}
select
    model_id,
    model_id || coalesce(format(' (chance {:.3f})', chance), '') as panel,
    side, layer, other_layer,
    mean as overlap,
    std as std_over_heads,
    chance, n_heads
from overlaps_by_layer
where
    layer != other_layer
    and is_chosen(model_id, $model)
order by model_id, side, layer, other_layer
