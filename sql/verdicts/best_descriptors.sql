--| about = "The best of ten descriptors for each of the three targets, with r and interval."
with

sets as (
    select
        model_id, prompt_set, max(n) as n,
        string_agg(
            format('for {} it is {}, r = {:.2f}{}', target, descriptor, pearson_r, coalesce(
                format(' ({:.2f} to {:.2f})', pearson_low, pearson_high), ' (no interval)'
            )),
            '; ' order by target
        ) as parts
    from answer
    where operator = 'metric' and pearson_r is not null
    group by model_id, prompt_set
    qualify is_largest_set(model_id, prompt_set, max(n))
)

select
    model_id,
    format(
        'Of ten descriptors of the metric the best over {} heads, with a 95% interval that does not pay '
        || 'for the choice: {}; chance is 0 for any one of them.',
        n, parts
    ) as sentence
from sets
order by model_id
