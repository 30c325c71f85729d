--| about = "the median effective rank at this revision beside that at the first one in the warehouse"
with

ranks as (
    select
        models.model_id,
        models.name || coalesce('#' || models.stack, '') as name,
        models.revision,
        models.revision_order,
        median(head_descriptors.effective_rank) as median_rank
    from head_descriptors
    inner join models on head_descriptors.model_id = models.model_id
    where head_descriptors.operator = 'metric' and models.revision_order is not null
    group by models.model_id, models.name, models.stack, models.revision, models.revision_order
    having count(head_descriptors.effective_rank) > 0
),

lines as (
    select
        model_id, revision, median_rank,
        count(*) over (partition by name) as n_revisions,
        first_value(revision) over in_order as first_revision,
        first_value(median_rank) over in_order as first_rank
    from ranks
    window in_order as (partition by name order by revision_order, model_id)
)

select
    model_id,
    format(
        'At {} the median effective rank of the heads is {:.1f}, at {} it is {:.1f} ({} revision{} in the warehouse).',
        revision, median_rank, first_revision, first_rank, n_revisions, case when n_revisions > 1 then 's' else '' end
    ) as sentence
from lines
where is_chosen(model_id, $model)
order by model_id
