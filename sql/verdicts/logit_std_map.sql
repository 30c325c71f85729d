--| about = "The median head and the two extremes of the logits' spread."
with

sets as (
    select
        model_id, prompt_set,
        count(logit_std) as n_heads,
        median(logit_std) as middle,
        min(logit_std) as lowest,
        max(logit_std) as highest,
        arg_min({'layer': layer, 'head': head}, (round(logit_std, 9), layer, head)) as narrowest,
        arg_max({'layer': layer, 'head': head}, (round(logit_std, 9), -layer, -head)) as widest
    from head_attention
    where logit_std is not null and ($model is null or model_id = $model)
    group by model_id, prompt_set
)

select
    model_id,
    format(
        'The logits of the median of {} heads have a std of {:.2f}; it is smallest, {:.2f}, in head {} of layer {}, '
        || 'and largest, {:.2f}, in head {} of layer {}.',
        n_heads, middle, lowest, narrowest.head, narrowest.layer, highest, widest.head, widest.layer
    ) as sentence
from sets
qualify row_number() over (partition by model_id order by n_heads desc, prompt_set) = 1
order by model_id
