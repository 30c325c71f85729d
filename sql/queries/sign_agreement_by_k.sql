--| title = "How deep do the signs of the eigenvalues agree with the anchor layer's?"
--| theme = "Same operator"
--| reading = """
--| Each point is the mean, over heads and the layers of one third of the model, of the share of the first k \
--| eigenvalues whose sign is that of the anchor layer's at the same rank; the anchor itself is left out. Random signs \
--| agree on 0.5; the dashed lines are what each head's own share of positive eigenvalues would give."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = true}
--| x = "k:O"
--| x_title = "leading eigenvalues compared, k"
--| y = {shorthand = "agreement:Q", scale = {zero = false}, axis = {format = "%"}}
--| y_title = "share of equal signs"
--| color = "stratum:N"
--| strokeDash = {shorthand = "series:N", scale = {domain = ["measured", "by shares alone"], range = [[1, 0], [4, 3]]}}
--| strokeDash_title = " "
--| facet = "panel:N"
--| facet_title = "model"
--| rules = [{y = 0.5, label = "chance"}]
--| [parameters]
--| model = {}
--| operator = {default = "metric"}
--| anchor = {default = "last"}
select
    model_id, operator, anchor_layer, stratum,
    unnest(['measured', 'by shares alone']) as series,
    format('{}, {}, anchor {}', model_id, operator, anchor_layer) as panel,
    k,
    unnest([mean_agreement_others, mean_chance_agreement]) as agreement,
    n_layers, n_pairs
from sign_agreement_by_stratum
where
    operator = $operator
    and n_pairs > 0
    and is_chosen(model_id, $model)
    and is_anchor(model_id, operator, anchor_layer, $anchor, $model)
order by model_id, operator, anchor_layer, list_position(['early', 'mid', 'late'], stratum), series desc, k
