-- rows that an import of one operator's spectra must keep
select
    singular_values.operator, singular_values.layer, singular_values.head, singular_values.k, singular_values.sigma
from singular_values
inner join models on singular_values.model_key = models.model_key
where models.model_id = $model_id and singular_values.operator <> $operator
order by all;
