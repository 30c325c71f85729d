--| about = "What share of entropy's variance four descriptors explain, beside what four of pure noise would."
select
    model_id,
    format(
        'Four descriptors of the metric explain {:.0f}% of the variance of attention entropy over {} heads, where four '
        || 'without any relation to it would explain {:.0f}% on average.',
        100 * r_squared, n, 100 * chance_r_squared
    ) as sentence
from answer
where operator = 'metric' and r_squared is not null
qualify is_largest_set(model_id, prompt_set, n)
order by model_id
