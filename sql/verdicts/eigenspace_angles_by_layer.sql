--| about = "how near the other layers' leading eigenspaces are to the anchor's, and what random spans give"
with

lines as (
    select
        *,
        if(series = 'mean over heads', mean_cosine, null) as value,
        if(series = 'chance', mean_cosine, null) as chance
    from answer
),

spans as (
    select models.model_id, max(principal_cosines.k) + 1 as n_directions
    from principal_cosines
    inner join models on principal_cosines.model_key = models.model_key
    where principal_cosines.basis = 'eigen' and is_chosen(models.model_id, $model)
    group by models.model_id
)

select
    lines.model_id,
    format(
        'Against layer {} the spans of a head''s {} leading eigenvectors have a mean cosine of {:.3f} over the {} other'
        || ' layers, from {:.3f} (layer {}) to {:.3f} (layer {}); random spans have {}.',
        lines.anchor_layer, any_value(spans.n_directions),
        avg(lines.value), count(lines.value),
        min(lines.value), where_least(lines.value, lines.layer), max(lines.value), where_most(lines.value, lines.layer),
        coalesce(format('{:.3f}', any_value(lines.chance)), 'an unknown value, as the hidden size is not known')
    ) as sentence
from lines
inner join spans on lines.model_id = spans.model_id
group by lines.model_id, lines.anchor_layer
having count(lines.value) > 0
order by lines.model_id
