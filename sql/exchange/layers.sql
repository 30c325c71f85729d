-- the measured layers and how many heads each has
select layers.layer, layers.n_heads
from layers
inner join models on layers.model_key = models.model_key
where models.model_id = $model_id and layers.is_measured
order by layers.layer;
