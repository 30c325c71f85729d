-- one list of singular values a head
select
    singular_values.layer, singular_values.head,
    list(singular_values.sigma order by singular_values.k) as sigma
from singular_values
inner join models on singular_values.model_key = models.model_key
where models.model_id = $model_id and singular_values.operator = $operator
group by singular_values.layer, singular_values.head
order by singular_values.layer, singular_values.head;
