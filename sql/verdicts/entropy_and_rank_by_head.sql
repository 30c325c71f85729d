--| about = "The correlation of entropy with effective rank over the heads, with its interval."
select
    model_id,
    format(
        'Effective rank and attention entropy, in nats, have r = {:.2f} over {} heads of {} layers ({}).',
        pearson_r, n, n_layers, said_interval(pearson_low, pearson_high)
    ) as sentence
from descriptor_correlations
where
    operator = 'metric' and stratum = 'all' and descriptor = 'effective_rank' and target = 'entropy_nats'
    and pearson_r is not null
    and is_chosen(model_id, $model)
qualify is_largest_set(model_id, prompt_set, n)
order by model_id
