--| about = "What BY names of every model in the table answer; null where a model has none"
select drawn.model_id, model_groups.value
from (select distinct model_id from answer) as drawn
left join model_groups on drawn.model_id = model_groups.model_id and model_groups.property = $by
order by drawn.model_id
