-- the first of the load's rows from a place on
select min(rowid)
from {table}
where {scope} and rowid >= {place};
