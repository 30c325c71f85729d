--| title = "Do the leading eigenvectors span the same space as in the anchor layer?"
--| theme = "Same operator"
--| reading = """
--| Blue is the mean over heads of the mean cosine of the principal angles between the spans of a head's leading \
--| eigenvectors in a layer and in the anchor layer, grey one head: 1 is the same span. The dashed line is what two \
--| random spans of that size give. The anchor itself is left out."""
--| [chart]
--| mark = "line"
--| x = "layer:O"
--| y = "mean_cosine:Q"
--| y_title = "mean cosine of principal angles"
--| detail = "head:N"
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x"]
--| [chart.color]
--| shorthand = "series:N"
--| title = " "
--| scale = {domain = ["mean over heads", "chance", "one head"], range = ["#0072B2", "#000000", "#BBBBBB"]}
--| [chart.strokeWidth]
--| shorthand = "series:N"
--| title = " "
--| scale = {domain = ["mean over heads", "chance", "one head"], range = [2.5, 0.8]}
--| [chart.strokeDash]
--| shorthand = "series:N"
--| title = " "
--| scale = {domain = ["mean over heads", "chance", "one head"], range = [[1, 0], [4, 3], [1, 0]]}
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
--| anchor = {default = "last"}
with

heads as (
    select
        model_id, 'metric' as operator, anchor_layer, layer, head,
        -- nothing is learnt from the anchor's 1: null, which breaks the line
        if(layer = anchor_layer, null, mean_cosine) as value,
        chance_mean_cosine as chance
    from eigenspace_angles
    where
        is_chosen(model_id, $model)
        and is_anchor(model_id, 'metric', anchor_layer, $anchor, $model)
)

select
    model_id, anchor_layer, layer, head, series,
    format('{}, anchor {}', model_id, anchor_layer) as panel,
    value as mean_cosine, n_heads
from lines_of_heads('heads', with_chance := true)
order by model_id, anchor_layer, series desc, head, layer
