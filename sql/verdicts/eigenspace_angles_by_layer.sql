--| about = "how near the other layers' leading eigenspaces are to the anchor's, and what random spans give"
with

anchored as (
    select
        eigenspace_angles.model_id, eigenspace_angles.anchor_layer, eigenspace_angles.layer,
        any_value(eigenspace_angles.n_directions) as n_directions,
        any_value(eigenspace_angles.chance_mean_cosine) as chance,
        avg(eigenspace_angles.mean_cosine) as mean_cosine
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
        'Against layer {} the spans of a head''s {} leading eigenvectors have a mean cosine of {:.3f} over the {} other'
        || ' layers, from {:.3f} (layer {}) to {:.3f} (layer {}); random spans have {}.',
        anchor_layer, any_value(n_directions), avg(mean_cosine), count(mean_cosine),
        min(mean_cosine),
        arg_min(layer, (round(mean_cosine, 9), layer)),
        max(mean_cosine),
        arg_max(layer, (round(mean_cosine, 9), -layer)) filter (mean_cosine is not null),
        coalesce(format('{:.3f}', any_value(chance)), 'an unknown value, as the hidden size is not known')
    ) as sentence
from anchored
group by model_id, anchor_layer
having count(mean_cosine) > 0
order by model_id
