-- signed eigenvalues of the metric, by falling magnitude
select eigenvalues.layer, eigenvalues.head, eigenvalues.k, eigenvalues.eigenvalue
from eigenvalues
inner join models on eigenvalues.model_key = models.model_key
where models.model_id = $model_id and eigenvalues.operator = 'metric'
order by eigenvalues.layer, eigenvalues.head, eigenvalues.k;
