--| about = """
--| the verdicts over all anchors, the smallest and the largest mean residual, that of random heads, and the \
--| correlation with entropy"""
with

summaries as (
    select *
    from answer
    where mean_residual is not null
    -- one prompt set, as residuals have none
    qualify is_first_operator(model_id, operator) and dense_rank() over (partition by model_id order by prompt_set) = 1
)

select
    model_id,
    format(
        'Of {} anchors {} give the verdict supported, {} partially supported, {} rejected ({}): the mean residual is'
        || ' {:.3f} to {:.3f}, smallest with layer {}',
        count(*), count(*) filter (verdict = 'supported'), count(*) filter (verdict = 'partially supported'),
        count(*) filter (verdict = 'rejected'), any_value(operator),
        min(mean_residual), max(mean_residual), where_least(mean_residual, anchor_layer)
    )
    || coalesce(format(', where random heads have {:.3f}', any_value(chance_residual)), '')
    || coalesce(
        format(
            '; on {} the temperature to anchor best has r = {:.2f} with entropy over {} heads, op_norm alone {:.2f}.',
            any_value(prompt_set),
            any_value(corr_temperature_entropy) filter (anchor = 'best'),
            any_value(n) filter (anchor = 'best'),
            any_value(corr_op_norm_entropy) filter (anchor = 'best')
        ),
        '; no correlation with entropy is known.'
    ) as sentence
from summaries
group by model_id
order by model_id
