--| about = "The median head and the two extremes, as shares of the entropy of even attention."
with

sets as (
    select
        model_id, prompt_set,
        count(entropy_fraction) as n_heads,
        median(entropy_fraction) as middle,
        min(entropy_fraction) as lowest,
        max(entropy_fraction) as highest,
        arg_min({'layer': layer, 'head': head}, (round(entropy_fraction, 9), layer, head)) as narrowest,
        arg_max({'layer': layer, 'head': head}, (round(entropy_fraction, 9), -layer, -head)) as widest
    from head_attention
    where entropy_fraction is not null and ($model is null or model_id = $model)
    group by model_id, prompt_set
)

select
    model_id,
    format(
        'The median of {} heads has {:.0f}% of the entropy of attention spread evenly; the narrowest, head {} of '
        || 'layer {}, has {:.0f}%, the widest, head {} of layer {}, {:.0f}%.',
        n_heads, 100 * middle, narrowest.head, narrowest.layer, 100 * lowest, widest.head, widest.layer, 100 * highest
    ) as sentence
from sets
qualify row_number() over (partition by model_id order by n_heads desc, prompt_set) = 1
order by model_id
