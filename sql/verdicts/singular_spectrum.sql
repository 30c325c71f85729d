--| about = "how much of its largest singular value the median head of the metric keeps half-way down, beside random heads"
with

-- the singular value at half the rank, and the largest
halves as (
    select
        models.model_id, singular_values.operator, singular_values.layer, singular_values.head,
        count(*) // 2 as half,
        list(singular_values.sigma::double order by singular_values.k)[count(*) // 2 + 1]
            / nullif(max(singular_values.sigma::double), 0) as share
    from singular_values
    inner join models on singular_values.model_key = models.model_key
    where $model is null or models.model_id = $model
    group by models.model_id, singular_values.operator, singular_values.layer, singular_values.head
    -- the metric, or the first operator that an imported file has
    qualify dense_rank() over (
        partition by models.model_id order by singular_values.operator <> 'metric', singular_values.operator
    ) = 1
),

null_halves as (
    select
        model_id, operator, layer, head,
        list(mean_sigma order by k)[count(*) // 2 + 1] / nullif(max(mean_sigma), 0) as share
    from null_head_spectra
    where $model is null or model_id = $model
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
