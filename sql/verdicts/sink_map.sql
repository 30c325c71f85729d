--| about = "How many heads rest more than half of their attention on the first token."
with

sets as (
    select
        model_id, prompt_set,
        count(sink_weight) as n_heads,
        median(sink_weight) as middle,
        max(sink_weight) as highest,
        arg_max({'layer': layer, 'head': head}, (round(sink_weight, 9), -layer, -head)) as widest,
        avg((sink_weight > 0.5)::integer) as share_above_half
    from head_attention
    where sink_weight is not null and ($model is null or model_id = $model)
    group by model_id, prompt_set
)

select
    model_id,
    format(
        'Of {} heads, {:.0f}% put more than half of their attention on the first token; the median head puts {:.0f}% '
        || 'there, head {} of layer {} most, {:.0f}%.',
        n_heads, 100 * share_above_half, 100 * middle, widest.head, widest.layer, 100 * highest
    ) as sentence
from sets
qualify row_number() over (partition by model_id order by n_heads desc, prompt_set) = 1
order by model_id
