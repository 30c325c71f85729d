-- rows of these tables depend on their key alone, so a row that is there already is the same row
insert or ignore into {table} by name
select *
from read_parquet($files)
order by {keys};
