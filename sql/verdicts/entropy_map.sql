--| about = "The median head and the two extremes, as shares of the entropy of even attention."
with

sets as (
    select
        model_id, prompt_set,
        count(entropy_fraction) as n_heads,
        median(entropy_fraction) as middle,
        min(entropy_fraction) as lowest,
        max(entropy_fraction) as highest,
        arg_min(layer, (round(entropy_fraction, 9), layer, head)) as lowest_layer, arg_min(head, (round(entropy_fraction, 9), layer, head)) as lowest_head,
        arg_max(layer, (round(entropy_fraction, 9), -layer, -head)) as highest_layer, arg_max(head, (round(entropy_fraction, 9), -layer, -head)) as highest_head,
        avg((entropy_fraction > 0.5)::integer) as share_above_half
    from (from head_attention order by model_id, prompt_set, layer, head)
    where $model is null or model_id = $model
    group by model_id, prompt_set
)

select
    model_id,
    format(
        'The median of {} heads has {:.0f}% of the entropy of attention spread evenly; the narrowest, head {} of '
        || 'layer {}, has {:.0f}%, the widest, head {} of layer {}, {:.0f}%.',
        n_heads, 100 * middle, lowest_head, lowest_layer, 100 * lowest, highest_head, highest_layer, 100 * highest
    ) as sentence
from sets
where n_heads > 0
qualify row_number() over (partition by model_id order by n_heads desc, prompt_set) = 1
order by model_id
