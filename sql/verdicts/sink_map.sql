--| about = "How many heads rest more than half of their attention on the first token."
select
    model_id,
    format(
        'Of {} heads, {:.0f}% put more than half of their attention on the first token; the median head puts {:.0f}% '
        || 'there, head {} of layer {} most, {:.0f}%.',
        count(*), 100 * avg((sink_weight > 0.5)::integer), 100 * median(sink_weight),
        where_most(sink_weight, layer, head)[2], where_most(sink_weight, layer, head)[1], 100 * max(sink_weight)
    ) as sentence
from answer
where sink_weight is not null
group by model_id, prompt_set
qualify is_largest_set(model_id, prompt_set, count(*))
order by model_id
