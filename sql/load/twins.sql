-- by model, how many rows have the key of another
select {key} as model_key, count(*) - count(distinct ({keys})) as n_twins
from {table}
where {scope}
group by all
having n_twins > 0
order by all;
