--| question = "About how much of the file do the rows of each model take?"
--| grain = ["model_id"]
--| [columns]
--| n_rows = "its rows in all tables, as the last load left them"
--| bytes = "4 or 8 for each number, and 1.5 for a key, which DuckDB packs"
create or replace view model_sizes as
with

widths as (
    select
        table_name,
        1.5 + coalesce(sum(case data_type when 'FLOAT' then 4 when 'DOUBLE' then 8 else 0 end), 0) as width,
        bool_or(data_type = 'FLOAT[]') as has_vector
    from duckdb_columns()
    where not internal
    group by table_name
)

select
    models.model_id,
    sum(table_checksums.n_rows)::bigint as n_rows,
    sum(
        table_checksums.n_rows
        * (widths.width + case when widths.has_vector then 4 * coalesce(models.hidden_size, 0) else 0 end)
    )::bigint as bytes
from table_checksums
inner join widths on table_checksums.table_name = widths.table_name
inner join models on table_checksums.model_key = models.model_key
group by models.model_id;
