--| about = "What share of entropy's variance four descriptors explain, beside what four of pure noise would."
--| routine = "entropy_regression"
select model_id, operator, prompt_set, entropy_nats, op_norm, spectral_entropy_nats, effective_modes, anisotropy
from head_predictors
where operator = 'metric' and ($model is null or model_id = $model)
order by model_id, operator, prompt_set, layer, head;

select
    model_id,
    format(
        'Four descriptors of the metric explain {:.0f}% of the variance of attention entropy over {} heads, where four '
        || 'without any relation to it would explain {:.0f}% on average.',
        100 * r_squared, n, 100 * chance_r_squared
    ) as sentence
from answer
where r_squared is not null
qualify row_number() over (partition by model_id order by n desc, prompt_set) = 1
order by model_id
