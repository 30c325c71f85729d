--| about = """
--| The descriptor with the steepest relation to entropy, its r and interval; of several prompt sets the first with \
--| most heads."""
with

correlations as (
    select
        model_id, prompt_set, descriptor, pearson_r, pearson_low, pearson_high,
        count(entropy_nats) as n,
        count(distinct layer) filter (entropy_nats is not null) as n_layers
    from answer
    where pearson_r is not null
    group by model_id, prompt_set, descriptor, pearson_r, pearson_low, pearson_high
    -- two descriptors that differ by rounding alone are tied
    qualify row_number() over (
        partition by model_id, prompt_set order by round(abs(pearson_r), 12) desc, descriptor
    ) = 1
)

select
    model_id,
    format(
        'Of ten descriptors of the metric, {} goes best with attention entropy: r = {:.2f} over {} heads '
        || 'of {} layers ({}).',
        descriptor, pearson_r, n, n_layers, said_interval(pearson_low, pearson_high)
    ) as sentence
from correlations
qualify is_largest_set(model_id, prompt_set, n)
order by model_id
