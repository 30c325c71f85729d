--| title = "Do the leading eigenvectors span the same space as in the anchor layer?"
--| theme = "Same operator"
--| reading = "Blue is the mean over heads of the mean cosine of the principal angles between the spans of a head's leading eigenvectors in a layer and in the anchor layer, grey one head: 1 is the same span. The dashed line is what two random spans of that size give. The anchor itself is left out."
--| [chart]
--| mark = "line"
--| x = "layer:O"
--| y = "mean_cosine:Q"
--| y_title = "mean cosine of principal angles"
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
        case when eigenspace_angles.layer <> eigenspace_angles.anchor_layer then eigenspace_angles.mean_cosine end
            as mean_cosine,
        eigenspace_angles.chance_mean_cosine as chance
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
    select model_id, anchor_layer, layer, head, 'one head' as series, mean_cosine, 1 as n_heads
    from anchored
    union all
    select model_id, anchor_layer, layer, null, 'mean over heads', avg(mean_cosine), count(mean_cosine)
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
    mean_cosine, n_heads
from series
order by model_id, anchor_layer, series desc, head, layer
