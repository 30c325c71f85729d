-- the operators that have singular values
select distinct singular_values.operator
from singular_values
inner join models on singular_values.model_key = models.model_key
where models.model_id = $model_id
order by singular_values.operator;
