--| wanted = "tags of a model that is there"
select null::bigint as model_key, format('{} of model_key {}', tag, model_tags.model_key) as found
from model_tags
left join models on model_tags.model_key = models.model_key
where models.model_key is null
