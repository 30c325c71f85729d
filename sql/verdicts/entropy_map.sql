--| about = "The median head and the two extremes, as shares of the entropy of even attention."
select
    model_id,
    format(
        'The median of {} heads has {:.0f}% of the entropy of attention spread evenly; the narrowest, head {} of '
        || 'layer {}, has {:.0f}%, the widest, head {} of layer {}, {:.0f}%.',
        count(*), 100 * median(entropy_fraction),
        where_least(entropy_fraction, layer, head)[2], where_least(entropy_fraction, layer, head)[1],
        100 * min(entropy_fraction),
        where_most(entropy_fraction, layer, head)[2], where_most(entropy_fraction, layer, head)[1],
        100 * max(entropy_fraction)
    ) as sentence
from answer
where entropy_fraction is not null
group by model_id, prompt_set
qualify is_largest_set(model_id, prompt_set, count(*))
order by model_id
