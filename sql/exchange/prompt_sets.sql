-- the prompt sets that were measured
select distinct prompt_set
from head_attention
where model_id = $model_id
order by prompt_set;
