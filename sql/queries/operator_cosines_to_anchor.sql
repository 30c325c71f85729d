--| title = "Is each layer's attention operator that of the anchor layer?"
--| theme = "Same operator"
--| reading = "Blue is the mean over heads of the cosine between a layer's operator and the anchor layer's, grey one head: 1 is the same operator up to a factor, 0 is chance. The anchor itself is left out."
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
--| [parameters]
--| model = {}
--| operator = {default = "metric"}
--| anchor = {default = "last"}
with

anchored as (
    select
        operator_cosines.model_id, operator_cosines.operator, operator_cosines.head, operator_cosines.layer,
        operator_cosines.other_layer as anchor_layer,
        -- nothing is learnt from the anchor's 1: null, which breaks the line
        case when operator_cosines.layer <> operator_cosines.other_layer then operator_cosines.cosine end as cosine
    from operator_cosines
    left join anchors
        on operator_cosines.model_id = anchors.model_id
        and operator_cosines.operator = anchors.operator
        and anchors.anchor = $anchor
        and ($model is null or anchors.model_id = $model)
    where
        ($model is null or operator_cosines.model_id = $model)
        and operator_cosines.operator = $operator
        and (operator_cosines.other_layer = anchors.anchor_layer or operator_cosines.other_layer::varchar = $anchor)
),

series as (
    select model_id, operator, anchor_layer, layer, head, 'one head' as series, cosine, 1 as n_heads
    from anchored
    union all
    select model_id, operator, anchor_layer, layer, null, 'mean over heads', avg(cosine), count(cosine)
    from anchored
    group by model_id, operator, anchor_layer, layer
)

select
    model_id, operator, anchor_layer, layer, head, series,
    format('{}, {}, anchor {}', model_id, operator, anchor_layer) as panel,
    cosine, n_heads
from series
order by model_id, operator, anchor_layer, series desc, head, layer
