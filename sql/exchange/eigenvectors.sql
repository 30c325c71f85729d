-- leading eigenvectors of the metric
select eigenvectors.layer, eigenvectors.head, eigenvectors.k, eigenvectors.vector
from eigenvectors
inner join models on eigenvectors.model_key = models.model_key
where models.model_id = $model_id
order by eigenvectors.layer, eigenvectors.head, eigenvectors.k;
