--| title = "Does effective rank predict attention entropy?"
--| theme = "What predicts entropy"
--| reading = "Pearson r over the heads of a model: near 1 where heads with flat spectra attend widely; null without attention rows, or where one of the two is constant."
--| [parameters]
--| model = {}
with

heads as (
    select
        head_descriptors.model_id,
        head_descriptors.operator,
        head_attention.prompt_set,
        head_descriptors.effective_rank,
        head_attention.entropy_nats
    from head_descriptors
    left join head_attention
        on head_descriptors.model_id = head_attention.model_id
        and head_descriptors.layer = head_attention.layer
        and head_descriptors.head = head_attention.head
    where $model is null or head_descriptors.model_id = $model
)

select
    model_id, operator, prompt_set,
    -- corr of a constant is NaN, which sorts above every number
    nullif(corr(entropy_nats, effective_rank), 'nan'::double) as pearson_r,
    count(*) filter (entropy_nats is not null and effective_rank is not null) as n_heads
from heads
group by model_id, operator, prompt_set
order by model_id, operator, prompt_set
