--| about = "how near the other layers' leading eigenvectors are to the anchor's, and what random directions give"
with

anchored as (
    select
        eigenspace_angles.model_id, eigenspace_angles.anchor_layer, eigenspace_angles.layer,
        any_value(eigenspace_angles.chance_top1_overlap) as chance,
        avg(eigenspace_angles.top1_overlap) as top1_overlap
    from eigenspace_angles
    left join anchors
        on eigenspace_angles.model_id = anchors.model_id
        and anchors.operator = 'metric'
        and anchors.anchor = $anchor
        and ($model is null or anchors.model_id = $model)
    where
        ($model is null or eigenspace_angles.model_id = $model)
        and eigenspace_angles.layer <> eigenspace_angles.anchor_layer
        and (
            eigenspace_angles.anchor_layer = anchors.anchor_layer
            or eigenspace_angles.anchor_layer::varchar = $anchor
        )
    group by eigenspace_angles.model_id, eigenspace_angles.anchor_layer, eigenspace_angles.layer
)

select
    model_id,
    format(
        'Against layer {} the leading eigenvector of a head has a mean overlap (v·v'')² of {:.3f} over the {} other'
        || ' layers, from {:.3f} (layer {}) to {:.3f} (layer {}); random directions have {}.',
        anchor_layer, avg(top1_overlap), count(top1_overlap),
        -- of layers that tie within rounding, the first
        min(top1_overlap), arg_min(layer, (round(top1_overlap, 6), layer)),
        max(top1_overlap), arg_max(layer, (round(top1_overlap, 6), -layer)) filter (top1_overlap is not null),
        coalesce(format('{:.3f}', any_value(chance)), 'an unknown value, as the hidden size is not known')
    ) as sentence
from anchored
group by model_id, anchor_layer
having count(top1_overlap) > 0
order by model_id
