--| about = "the verdicts over all anchors, the smallest and the largest mean residual, that of random heads, and the correlation with entropy"
with

summaries as (
    select *
    from rescale_summary
    where
        ($model is null or model_id = $model)
        and mean_residual is not null
    -- the metric, or the first operator that an imported file has; one prompt set, as residuals have none
    qualify
        dense_rank() over (partition by model_id order by operator <> 'metric', operator) = 1
        and dense_rank() over (partition by model_id order by prompt_set) = 1
),

totals as (
    select
        model_id,
        any_value(operator) as operator,
        any_value(prompt_set) as prompt_set,
        count(*) filter (verdict = 'supported') as n_supported,
        count(*) filter (verdict = 'partially supported') as n_partial,
        count(*) filter (verdict = 'rejected') as n_rejected,
        count(*) as n_anchors,
        min(mean_residual) as lowest_residual,
        max(mean_residual) as highest_residual,
        arg_min(anchor_layer, (round(mean_residual, 6), anchor_layer)) as nearest_layer,
        any_value(corr_temperature_entropy) filter (anchor = 'best') as temperature_r,
        any_value(corr_op_norm_entropy) filter (anchor = 'best') as op_norm_r,
        any_value(n) filter (anchor = 'best') as n
    from summaries
    group by model_id
)

select
    totals.model_id,
    format(
        'Of {} anchors {} give the verdict supported, {} partially supported, {} rejected ({}): the mean residual is'
        || ' {:.3f} to {:.3f}, smallest with layer {}',
        totals.n_anchors, totals.n_supported, totals.n_partial, totals.n_rejected, totals.operator,
        totals.lowest_residual, totals.highest_residual, totals.nearest_layer
    )
    || coalesce(
        case
            when totals.operator <> 'head_product'
                then format(', where random heads have {:.3f}', null_cosines.null_residual)
        end,
        ''
    )
    || coalesce(
        format(
            '; on {} the temperature to anchor best has r = {:.2f} with entropy over {} heads, op_norm alone {:.2f}.',
            totals.prompt_set, totals.temperature_r, totals.n, totals.op_norm_r
        ),
        '; no correlation with entropy is known.'
    ) as sentence
from totals
inner join models on totals.model_id = models.model_id
left join null_cosines
    on models.model_id = null_cosines.model_id
    and models.head_dim = null_cosines.head_dim
order by totals.model_id
