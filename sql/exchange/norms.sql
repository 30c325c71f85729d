-- squared norms of the metric and of the head product
select head_norms.layer, head_norms.head, head_norms.metric_fro_sq, head_norms.head_product_fro_sq
from head_norms
inner join models on head_norms.model_key = models.model_key
where models.model_id = $model_id and head_norms.operator = 'metric'
order by all;
