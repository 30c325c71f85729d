--| title = "Does effective rank predict attention entropy?"
--| theme = "What predicts entropy"
--| reading = """
--| Pearson r over the heads of a model: near 1 where heads with flat spectra attend widely; null without attention \
--| rows, or where one of the two is constant."""
--| [parameters]
--| model = {}
select
    head_descriptors.model_id, head_descriptors.operator, head_attention.prompt_set,
    pearson_r(head_attention.entropy_nats, head_descriptors.effective_rank) as pearson_r,
    regr_count(head_attention.entropy_nats, head_descriptors.effective_rank)::bigint as n_heads
from head_descriptors
left join head_attention
    on head_descriptors.model_id = head_attention.model_id
    and head_descriptors.layer = head_attention.layer
    and head_descriptors.head = head_attention.head
where is_chosen(head_descriptors.model_id, $model)
group by head_descriptors.model_id, head_descriptors.operator, head_attention.prompt_set
order by head_descriptors.model_id, head_descriptors.operator, head_attention.prompt_set
