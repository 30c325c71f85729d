-- the sum of squared singular values of every head, and how many there are
select
    singular_values.operator, singular_values.layer, singular_values.head,
    sum(singular_values.sigma::double * singular_values.sigma) as energy,
    count(*) as n_values
from singular_values
inner join models on singular_values.model_key = models.model_key
where models.model_id = $model_id
group by singular_values.operator, singular_values.layer, singular_values.head
order by all;
