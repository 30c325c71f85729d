-- how many rows of a rollup aren't what the temporary table of the same name has
select count(*)
from (from {stored} where model_key = $model_key) as there
full join temp.{table} as anew using ({keys})
where {differs}
