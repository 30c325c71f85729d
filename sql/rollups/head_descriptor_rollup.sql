--| source = "singular_values"
insert into head_descriptor_rollup by name
select model_key, operator, layer, head, unnest(descriptors(sigma::double))
from singular_values
where model_key = $model_key
group by model_key, operator, layer, head
order by operator, layer, head;
