--| about = "The median angle between a head's span and that in the anchor layer, over heads and other layers, beside chance."
--| routine = "eigenvector_angles"
with

anchored as (
    select model_id, layer as anchor_layer
    from measured_layers
    where
        layer::varchar = $anchor
        or ($anchor = 'last' and position = n_measured - 1)
        or ($anchor = 'middle' and position = n_measured // 2)
    union
    select model_id, anchor_layer
    from anchors
    where operator = 'metric' and anchor = $anchor
)

select
    models.model_id, eigenvectors.head, eigenvectors.layer, eigenvectors.k, anchored.anchor_layer,
    -- the eigenvectors of nothing are whatever rounding made them
    if(head_descriptors.layer is not null and head_descriptors.op_norm is null, null, eigenvectors.vector) as vector
from eigenvectors
inner join models on eigenvectors.model_key = models.model_key
inner join anchored on models.model_id = anchored.model_id
left join head_descriptors
    on models.model_id = head_descriptors.model_id
    and eigenvectors.layer = head_descriptors.layer
    and eigenvectors.head = head_descriptors.head
    and head_descriptors.operator = 'metric'
where eigenvectors.k < $k and ($model is null or models.model_id = $model)
order by models.model_id, eigenvectors.head, eigenvectors.layer, eigenvectors.k;

select
    model_id,
    format(
        'Over {} heads of other layers, the mean principal angle to the span of the same head in layer {} has the '
        || 'median {:.1f} degrees (lowest {:.1f}), where random spans have {:.1f}; {:.0f}% lie more than 5 degrees '
        || 'below that.',
        count(mean_angle_deg), any_value(anchor_layer), median(mean_angle_deg), min(mean_angle_deg),
        median(chance_mean_angle_deg), 100 * avg((mean_angle_deg < chance_mean_angle_deg - 5)::integer)
    ) as sentence
from answer
where layer <> anchor_layer and mean_angle_deg is not null
group by model_id
order by model_id
