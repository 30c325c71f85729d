-- how many rows the load has, and the first and the last of them
select count(*) as n_rows, min(rowid) as first_row, max(rowid) as last_row
from {table}
where {scope};
