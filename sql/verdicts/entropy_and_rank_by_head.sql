--| about = "The correlation of entropy with effective rank over the heads, with its interval."
select
    model_id,
    format(
        'Effective rank and attention entropy, in nats, have r = {:.2f} over {} heads of {} layers ({}).',
        pearson_r, n, n_layers, case
        when pearson_low is null then 'no interval, for want of layers'
        else format('95% interval {:.2f} to {:.2f}, which ', pearson_low, pearson_high)
            || if(pearson_low <= 0 and pearson_high >= 0, 'holds', 'leaves out') || ' chance, 0'
    end
    ) as sentence
from descriptor_correlations
where
    operator = 'metric' and stratum = 'all' and descriptor = 'effective_rank' and target = 'entropy_nats'
    and pearson_r is not null
    and ($model is null or model_id = $model)
qualify row_number() over (partition by model_id order by n desc, prompt_set) = 1
order by model_id
