-- the rows of a kept view of some models; the filter is inside, where it reaches the scans of the facts
insert into {table} by name
select models.model_key, made.* exclude (model_id)
from (select * from ({select}) where model_id in ({names})) as made
inner join models on made.model_id = models.model_id
order by {keys};
