--| title = "The models of the report, in the order of a series"
--| [parameters]
--| model = {}
select * exclude (model_key)
from models
where is_chosen(model_id, $model)
order by name, revision_order, model_id
