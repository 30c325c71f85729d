--| about = "The layers with the lowest and the highest mean entropy, and the weight on the first token in the lowest."
with

sets as (
    select
        model_id, prompt_set,
        count(mean_entropy_nats) as n_layers,
        sum(n_heads) as n_heads,
        min_by(answer, (mean_entropy_nats, layer)) as lowest,
        max_by(answer, (mean_entropy_nats, -layer)) filter (mean_entropy_nats is not null) as highest
    from answer
    group by model_id, prompt_set
    having count(mean_entropy_nats) > 0
    qualify is_largest_set(model_id, prompt_set, sum(n_heads))
)

select
    model_id,
    format(
        'Over {} layers with {} heads, mean attention entropy is lowest in layer {}, {:.2f} nats{}, '
        || 'and highest in layer {}, {:.2f} nats.',
        n_layers, n_heads, lowest.layer, lowest.mean_entropy_nats,
        coalesce(format(' with {:.0f}% of the weight on the first token', 100 * lowest.mean_sink_weight), ''),
        highest.layer, highest.mean_entropy_nats
    ) as sentence
from sets
order by model_id
