--| title = "Every table, view and column with its comment"
with

relations as (
    select 'table' as kind, table_oid as oid, table_name as name, comment
    from duckdb_tables()
    where not internal
    union all
    select 'view' as kind, view_oid as oid, view_name as name, comment
    from duckdb_views()
    where not internal
)

select
    relations.kind,
    relations.name,
    relations.comment as about,
    duckdb_columns.column_name,
    duckdb_columns.data_type,
    duckdb_columns.comment
from relations
inner join duckdb_columns() on relations.oid = duckdb_columns.table_oid
order by relations.kind, relations.name, duckdb_columns.column_index
