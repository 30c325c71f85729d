--| about = """
--| how much of its largest singular value the median head of the metric keeps half-way down, beside random heads"""
with

-- the singular value at half the rank, and the largest
halves as (
    select
        model_id, operator, layer, head,
        count(*) // 2 as half,
        list(sigma order by k)[count(*) // 2 + 1] / nullif(max(sigma), 0) as share
    from spectra($model)
    group by model_id, operator, layer, head
    qualify is_first_operator(model_id, operator)
),

null_halves as (
    select
        model_id, operator, layer, head,
        list(mean_sigma order by k)[count(*) // 2 + 1] / nullif(max(mean_sigma), 0) as share
    from null_head_spectra
    where is_chosen(model_id, $model)
    group by model_id, operator, layer, head
)

select
    halves.model_id,
    coalesce(
        format(
            'Half-way down, at k = {}, the median of {} heads ({}) keeps {:.3f} of its largest singular value',
            max(halves.half), count(halves.share), any_value(halves.operator), median(halves.share)
        )
        || coalesce(format(', where random heads of the shape keep {:.3f}.', median(null_halves.share)), '.'),
        'All heads are zero.'
    ) as sentence
from halves
left join null_halves
    on halves.model_id = null_halves.model_id
    and halves.operator = null_halves.operator
    and halves.layer = null_halves.layer
    and halves.head = null_halves.head
group by halves.model_id
order by halves.model_id
