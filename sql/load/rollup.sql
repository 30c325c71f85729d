-- by model, how many rows of a rollup aren't what the temporary table of the same name has
select coalesce(there.model_key, anew.model_key) as model_key, count(*) as n_wrong
from (from {stored} where model_key in ({models})) as there
full join temp.{table} as anew on {same_key}
where {differs}
group by all
order by all
