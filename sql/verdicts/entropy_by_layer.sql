--| about = "The layers with the lowest and the highest mean entropy, and the weight on the first token in the lowest."
with

by_layer as (
    select
        model_id, prompt_set, layer,
        avg(entropy_nats) as mean_entropy,
        avg(sink_weight) as mean_sink,
        count(entropy_nats) as n_heads
    from head_attention
    where $model is null or model_id = $model
    group by model_id, prompt_set, layer
),

sets as (
    select
        model_id, prompt_set,
        count(mean_entropy) as n_layers,
        sum(n_heads) as n_heads,
        min(mean_entropy) as lowest,
        max(mean_entropy) as highest,
        min(layer) filter (mean_entropy = lowest_of_set) as lowest_layer,
        min(layer) filter (mean_entropy = highest_of_set) as highest_layer,
        any_value(mean_sink) filter (mean_entropy = lowest_of_set) as sink
    from (
        select *, min(mean_entropy) over of_set as lowest_of_set, max(mean_entropy) over of_set as highest_of_set
        from by_layer
        window of_set as (partition by model_id, prompt_set)
    )
    group by model_id, prompt_set
)

select
    model_id,
    format(
        'Over {} layers with {} heads, mean attention entropy is lowest in layer {}, {:.2f} nats{}, '
        || 'and highest in layer {}, {:.2f} nats.',
        n_layers, n_heads, lowest_layer, lowest,
        coalesce(format(' with {:.0f}% of the weight on the first token', 100 * sink), ''), highest_layer, highest
    ) as sentence
from sets
where n_layers > 0
qualify row_number() over (partition by model_id order by n_heads desc, prompt_set) = 1
order by model_id
