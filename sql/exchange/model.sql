-- the row of one model, whole
select *
from models
where model_id = $model_id;
