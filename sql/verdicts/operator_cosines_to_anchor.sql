--| about = "how near the other layers' metrics are to the anchor's, the nearest layer, and what chance gives"
with

anchored as (
    select
        operator_cosines_by_layer.model_id, operator_cosines_by_layer.other_layer as anchor_layer,
        operator_cosines_by_layer.layer, operator_cosines_by_layer.mean_cosine,
        operator_cosines_by_layer.chance_std_cosine
    from operator_cosines_by_layer
    left join anchors
        on operator_cosines_by_layer.model_id = anchors.model_id
        and operator_cosines_by_layer.operator = anchors.operator
        and anchors.anchor = $anchor
        and ($model is null or anchors.model_id = $model)
    where
        ($model is null or operator_cosines_by_layer.model_id = $model)
        and operator_cosines_by_layer.operator = 'metric'
        and operator_cosines_by_layer.layer <> operator_cosines_by_layer.other_layer
        and (
            operator_cosines_by_layer.other_layer = anchors.anchor_layer
            or operator_cosines_by_layer.other_layer::varchar = $anchor
        )
)

select
    model_id,
    format(
        'Over the {} other layers the mean cosine of their metric with that of layer {} is {:.3f},'
        || ' from {:.3f} (layer {}) to {:.3f} (layer {}); chance is 0{}.',
        count(mean_cosine), anchor_layer, avg(mean_cosine),
        min(mean_cosine),
        arg_min(layer, (round(mean_cosine, 9), layer)),
        max(mean_cosine),
        arg_max(layer, (round(mean_cosine, 9), -layer)) filter (mean_cosine is not null),
        coalesce(format(' ± {:.4f} for a layer', avg(chance_std_cosine)), '')
    ) as sentence
from anchored
group by model_id, anchor_layer
having count(mean_cosine) > 0
order by model_id
