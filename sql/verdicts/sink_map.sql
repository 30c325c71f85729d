--| about = "How many heads rest more than half of their attention on the first token."
with

sets as (
    select
        model_id, prompt_set,
        count(sink_weight) as n_heads,
        median(sink_weight) as middle,
        min(sink_weight) as lowest,
        max(sink_weight) as highest,
        arg_min(layer, (round(sink_weight, 9), layer, head)) as lowest_layer, arg_min(head, (round(sink_weight, 9), layer, head)) as lowest_head,
        arg_max(layer, (round(sink_weight, 9), -layer, -head)) as highest_layer, arg_max(head, (round(sink_weight, 9), -layer, -head)) as highest_head,
        avg((sink_weight > 0.5)::integer) as share_above_half
    from (from head_attention order by model_id, prompt_set, layer, head)
    where $model is null or model_id = $model
    group by model_id, prompt_set
)

select
    model_id,
    format(
        'Of {} heads, {:.0f}% put more than half of their attention on the first token; the median head puts {:.0f}% '
        || 'there, head {} of layer {} most, {:.0f}%.',
        n_heads, 100 * share_above_half, 100 * middle, highest_head, highest_layer, 100 * highest
    ) as sentence
from sets
where n_heads > 0
qualify row_number() over (partition by model_id order by n_heads desc, prompt_set) = 1
order by model_id
