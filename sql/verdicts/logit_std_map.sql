--| about = "The median head and the two extremes of the logits' spread."
select
    model_id,
    format(
        'The logits of the median of {} heads have a std of {:.2f}; it is smallest, {:.2f}, in head {} of layer {}, '
        || 'and largest, {:.2f}, in head {} of layer {}.',
        count(*), median(logit_std),
        min(logit_std), where_least(logit_std, layer, head)[2], where_least(logit_std, layer, head)[1],
        max(logit_std), where_most(logit_std, layer, head)[2], where_most(logit_std, layer, head)[1]
    ) as sentence
from answer
where logit_std is not null
group by model_id, prompt_set
qualify is_largest_set(model_id, prompt_set, count(*))
order by model_id
