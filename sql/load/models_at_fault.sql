-- the models that have a row at fault
select distinct model_key
from (select *, {previous} from {table} where {scope})
where {fault}
order by model_key;
