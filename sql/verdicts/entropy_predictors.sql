--| about = "The strongest of ten correlations with entropy, its bootstrap interval and its p, and how many of the ten have a small p."
--| routine = "entropy_predictors"
select
    model_id, operator, prompt_set, 'entropy_nats' as target, layer, head, entropy_nats as outcome,
    op_norm, fro_norm, nuclear_norm, effective_modes, effective_rank, spectral_entropy_nats,
    anisotropy, condition_number, stable_rank, participation_ratio
from head_predictors
where
    operator = 'metric'
    and ($model is null or model_id = $model)
order by model_id, operator, prompt_set, layer, head;

with

placed as (
    select
        *,
        count(*) filter (permutation_p < 0.05) over descriptors as n_small,
        row_number() over (descriptors order by abs(pearson_r) desc nulls last, descriptor) as place
    from answer
    window descriptors as (partition by model_id, prompt_set)
)

select
    model_id,
    format(
        'The strongest of ten correlations of the metric with entropy is that of {}, r = {:.2f} over {} heads ({}); '
        || 'were the heads exchangeable, p = {:.3f} for the best of ten, and {} of the ten have p below 0.05.',
        descriptor, pearson_r, n,
        coalesce(
            format('95% interval over layers {:.2f} to {:.2f}', pearson_low, pearson_high),
            'too few layers for an interval'
        ),
        permutation_p, n_small
    ) as sentence
from placed
where place = 1 and pearson_r is not null
qualify row_number() over (partition by model_id order by n desc, prompt_set) = 1
order by model_id
