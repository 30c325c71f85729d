--| about = """
--| The strongest of ten correlations with entropy, its bootstrap interval and its p, and how many of the ten have a \
--| small p."""
with

placed as (
    select
        *,
        count(*) filter (permutation_p < 0.05) over descriptors as n_small,
        row_number() over (descriptors order by abs(pearson_r) desc nulls last, descriptor) as place
    from answer
    where operator = 'metric'
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
qualify is_largest_set(model_id, prompt_set, n)
order by model_id
