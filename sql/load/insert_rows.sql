-- {order} is empty for files that are sorted already: their rows pass in a stream, sorting would hold them all
insert into {table} by name
select $model_key as model_key, *
from read_parquet($files)
{order};
