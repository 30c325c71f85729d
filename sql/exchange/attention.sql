-- entropy and logit spread of every head over one prompt set
select layer, head, entropy_nats, logit_std
from head_attention
where model_id = $model_id and prompt_set = $prompt_set
order by layer, head;
