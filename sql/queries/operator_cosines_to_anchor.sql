--| title = "Is each layer's attention operator that of the anchor layer?"
--| theme = "Same operator"
--| reading = """
--| Blue is the mean over heads of the cosine between a layer's operator and the anchor layer's, grey one head: 1 is \
--| the same operator up to a factor, 0 is chance. The anchor itself is left out."""
--| [chart]
--| mark = "line"
--| x = "layer:O"
--| y = {shorthand = "cosine:Q", axis = {grid = true}}
--| y_title = "cosine with the anchor's operator"
--| color = {shorthand = "series:N", scale = {domain = ["mean over heads", "one head"], range = ["#0072B2", "#BBBBBB"]}}
--| color_title = " "
--| strokeWidth = {shorthand = "series:N", scale = {domain = ["mean over heads", "one head"], range = [2.5, 0.8]}}
--| strokeWidth_title = " "
--| detail = "head:N"
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x"]
--| rules = [{y = 0, label = "chance"}]
--| [chart.crowd]
--| some = "cells"
--| many = "bands"
--| where = "series <> 'one head'"
--| color = "model_id:N"
--| strokeDash = "series:N"
--| strokeWidth = ""
--| detail = ""
--| facet = ""
--| [parameters]
--| model = {}
--| operator = {default = "metric"}
--| anchor = {default = "last"}
with

heads as (
    select
        model_id, operator, other_layer as anchor_layer, layer, head,
        -- nothing is learnt from the anchor's 1: null, which breaks the line
        if(layer = other_layer, null, cosine) as value,
        0 as chance
    from operator_cosines
    where
        operator = $operator
        and is_chosen(model_id, $model)
        and is_anchor(model_id, operator, other_layer, $anchor, $model)
)

select
    model_id, operator, anchor_layer, layer, head, series,
    format('{}, {}, anchor {}', model_id, operator, anchor_layer) as panel,
    value as cosine, n_heads
from lines_of_heads('heads')
order by model_id, operator, anchor_layer, series desc, head, layer
