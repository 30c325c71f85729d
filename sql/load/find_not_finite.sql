-- nulls pass here: columns that may not be null say so in their table
select {keys}
from {table}
where {scope} and not ({all_finite})
limit 1;
