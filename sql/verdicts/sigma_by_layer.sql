--| about = "the median largest singular value, how many times that of random heads it is, and the head that has the largest"
with

norms as (
    select model_id, operator, layer, head, op_norm
    from head_descriptors
    where
        op_norm is not null
        and ($model is null or model_id = $model)
    -- the metric, or the first operator that an imported file has
    qualify dense_rank() over (partition by model_id order by operator <> 'metric', operator) = 1
),

null_norms as (
    select model_id, operator, layer, head, mean_sigma
    from null_head_spectra
    where
        k = 0
        and ($model is null or model_id = $model)
),

ratios as (
    select norms.*, norms.op_norm / nullif(null_norms.mean_sigma, 0) as times_chance
    from norms
    left join null_norms
        on norms.model_id = null_norms.model_id
        and norms.operator = null_norms.operator
        and norms.layer = null_norms.layer
        and norms.head = null_norms.head
)

select
    model_id,
    format(
        'Over {} heads the largest singular value of the {} has the median {:.3g}; head {} of layer {} has the largest,'
        || ' {:.3g}',
        count(*), any_value(operator), median(op_norm),
        arg_max(head, (op_norm, -layer, -head)), arg_max(layer, (op_norm, -layer, -head)), max(op_norm)
    )
    || coalesce(
        format('; the median head has {:.2f} times what random factors of its norms would give.', median(times_chance)),
        '.'
    ) as sentence
from ratios
group by model_id
order by model_id
