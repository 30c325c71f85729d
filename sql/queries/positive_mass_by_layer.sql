--| title = "Does a head reward likeness or difference? Positive share of its eigenvalue mass"
--| theme = "Same operator"
--| reading = """
--| Blue is the mean over heads of the positive eigenvalues' share of the sum of all magnitudes, grey one head: above \
--| one half a random token scores itself above 0 on average, below it under 0. Random heads have one half."""
--| [chart]
--| mark = "line"
--| x = "layer:O"
--| y = {shorthand = "positive_mass:Q", scale = {zero = false}, axis = {format = "%"}}
--| y_title = "positive share of eigenvalue mass"
--| color = {shorthand = "series:N", scale = {domain = ["mean over heads", "one head"], range = ["#0072B2", "#BBBBBB"]}}
--| color_title = " "
--| strokeWidth = {shorthand = "series:N", scale = {domain = ["mean over heads", "one head"], range = [2.5, 0.8]}}
--| strokeWidth_title = " "
--| detail = "head:N"
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x"]
--| rules = [{y = 0.5, label = "chance"}]
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
with

heads as (
    select model_id, operator, null as anchor_layer, layer, head, positive_mass as value, 0.5 as chance
    from eigenvalue_balance
    where operator = $operator and is_chosen(model_id, $model)
)

select
    model_id, operator, layer, head, series,
    model_id || ', ' || operator as panel,
    value as positive_mass, n_heads
from lines_of_heads('heads')
order by model_id, operator, series desc, head, layer
