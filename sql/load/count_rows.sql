-- Rows of the load, and those whose key is not above the key of the row before: none proves the keys unique
-- and the rows sorted. lag() over () follows the stored order in one streaming pass, in little memory.
select count(*) as n_rows, count(*) filter ({not_above_previous}) as n_not_above
from (select {keys}, {previous_keys} from {table} where {scope});
