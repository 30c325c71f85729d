--| title = "The models beside each other"
--| reading = "Placeholder."
--| theme = "What is there"
--| [parameters]
--| model = {}
select models.model_id, models.n_layers, models.n_heads, models.head_dim, models.hidden_size,
median(head_descriptors.effective_rank) as median_effective_rank
from models left join head_descriptors on models.model_id=head_descriptors.model_id and head_descriptors.operator='metric'
where $model is null or models.model_id = $model
group by all
order by models.model_id
