--| title = "Is the leading eigenvector that of the anchor layer?"
--| theme = "Same operator"
--| reading = "Blue is the mean over heads of (v·v')², v the eigenvector of largest magnitude in a layer and v' in the anchor layer, grey one head: 1 is the same direction. The dashed line is two random directions, 1 / hidden size. The anchor itself is left out."
--| [chart]
--| mark = "line"
--| x = "layer:O"
--| y = "top1_overlap:Q"
--| y_title = "(v·v')² of the leading eigenvectors"
--| color = {shorthand = "series:N", scale = {domain = ["mean over heads", "chance", "one head"], range = ["#0072B2", "#000000", "#BBBBBB"]}}
--| color_title = " "
--| strokeWidth = {shorthand = "series:N", scale = {domain = ["mean over heads", "chance", "one head"], range = [2.5, 0.8]}}
--| strokeWidth_title = " "
--| strokeDash = {shorthand = "series:N", scale = {domain = ["mean over heads", "chance", "one head"], range = [[1, 0], [4, 3], [1, 0]]}}
--| strokeDash_title = " "
--| detail = "head:N"
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x"]
--| [parameters]
--| model = {}
--| anchor = {default = "last"}
with

anchored as (
    select
        eigenspace_angles.model_id, eigenspace_angles.anchor_layer,
        eigenspace_angles.layer, eigenspace_angles.head,
        -- nothing is learnt from the anchor's 1: null, which breaks the line
        case when eigenspace_angles.layer <> eigenspace_angles.anchor_layer then eigenspace_angles.top1_overlap end
            as top1_overlap,
        eigenspace_angles.chance_top1_overlap as chance
    from eigenspace_angles
    left join anchors
        on eigenspace_angles.model_id = anchors.model_id
        and anchors.operator = 'metric'
        and anchors.anchor = $anchor
        and ($model is null or anchors.model_id = $model)
    where
        ($model is null or eigenspace_angles.model_id = $model)
        and (
            eigenspace_angles.anchor_layer = anchors.anchor_layer
            or eigenspace_angles.anchor_layer::varchar = $anchor
        )
),

series as (
    select model_id, anchor_layer, layer, head, 'one head' as series, top1_overlap, 1 as n_heads
    from anchored
    union all
    select model_id, anchor_layer, layer, null, 'mean over heads', avg(top1_overlap), count(top1_overlap)
    from anchored
    group by model_id, anchor_layer, layer
    union all
    select model_id, anchor_layer, layer, null, 'chance', any_value(chance), count(*)
    from anchored
    group by model_id, anchor_layer, layer
)

select
    model_id, anchor_layer, layer, head, series,
    format('{}, anchor {}', model_id, anchor_layer) as panel,
    top1_overlap, n_heads
from series
order by model_id, anchor_layer, series desc, head, layer
