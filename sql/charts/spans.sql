--| about = "How far each model's places go: to its last layer, or to the last that it has"
create or replace temp table spans as
select
    seen.model,
    greatest(if($is_layer, coalesce(max(models.n_layers) - 1, max(seen.place)), max(seen.place)), 1)::integer as span
from seen
left join models on seen.model = models.model_id
group by seen.model
