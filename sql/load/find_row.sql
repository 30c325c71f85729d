-- the first of the load's rows that is at fault
select {shown}
from (select *, {previous} from {table} where {scope})
where {fault}
limit 1;
