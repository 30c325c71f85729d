--| about = "how near the other layers' leading eigenvectors are to the anchor's, and what random directions give"
select
    model_id,
    format(
        'Against layer {} the leading eigenvector of a head has a mean overlap (v·v'')² of {:.3f} over the {} other'
        || ' layers, from {:.3f} (layer {}) to {:.3f} (layer {}); random directions have {}.',
        anchor_layer,
        avg(value), count(value), min(value), where_least(value, layer), max(value), where_most(value, layer),
        coalesce(format('{:.3f}', any_value(chance)), 'an unknown value, as the hidden size is not known')
    ) as sentence
from (
    select
        *,
        if(series = 'mean over heads', top1_overlap, null) as value,
        if(series = 'chance', top1_overlap, null) as chance
    from answer
)
group by model_id, anchor_layer
having count(value) > 0
order by model_id
