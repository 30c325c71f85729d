--| about = "The median head and the two extremes of the logits' spread."
with

sets as (
    select
        model_id, prompt_set,
        count(logit_std) as n_heads,
        median(logit_std) as middle,
        min(logit_std) as lowest,
        max(logit_std) as highest,
        arg_min(layer, (round(logit_std, 9), layer, head)) as lowest_layer, arg_min(head, (round(logit_std, 9), layer, head)) as lowest_head,
        arg_max(layer, (round(logit_std, 9), -layer, -head)) as highest_layer, arg_max(head, (round(logit_std, 9), -layer, -head)) as highest_head,
        avg((logit_std > 0.5)::integer) as share_above_half
    from (from head_attention order by model_id, prompt_set, layer, head)
    where $model is null or model_id = $model
    group by model_id, prompt_set
)

select
    model_id,
    format(
        'The logits of the median of {} heads have a std of {:.2f}; it is smallest, {:.2f}, in head {} of layer {}, '
        || 'and largest, {:.2f}, in head {} of layer {}.',
        n_heads, middle, lowest, lowest_head, lowest_layer, highest, highest_head, highest_layer
    ) as sentence
from sets
where n_heads > 0
qualify row_number() over (partition by model_id order by n_heads desc, prompt_set) = 1
order by model_id
