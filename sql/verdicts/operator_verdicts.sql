--| about = "the verdict that most anchors give, the best anchor's mean cosine, and that of adjacent layers"
select
    model_id,
    format(
        'Taken as the anchor, {} of {} layers give the verdict {} (anchor left out); the best, layer {}, has a mean'
        || ' cosine of {:.3f} with the others, and adjacent layers have {:.3f} ({:.3f} to {:.3f}); chance is 0.',
        count(*) filter (verdict_others = common), count(verdict_others), any_value(common),
        where_most(mean_cosine_to_others, anchor_layer), max(mean_cosine_to_others),
        any_value(adjacent_mean), any_value(adjacent_min), any_value(adjacent_max)
    ) as sentence
from (
    select *, mode(verdict_others) over (partition by model_id) as common
    from answer
    where operator = 'metric'
) as anchored
group by model_id
having count(verdict_others) > 0
order by model_id
