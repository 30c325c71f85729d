-- inner products of the metric between layers, layer <= other_layer
select grams.head, grams.layer, grams.other_layer, grams.gram
from grams
inner join models on grams.model_key = models.model_key
where models.model_id = $model_id and grams.operator = 'metric'
order by grams.head, grams.layer, grams.other_layer;
