--| title = "Every table, view, column and macro with its comment"
with

-- the file's own: what this connection keeps for itself is left out
relations as (
    select 'table' as kind, table_oid as oid, table_name as name, comment
    from duckdb_tables()
    where not internal and database_name = current_database()
    union all
    select 'view' as kind, view_oid as oid, view_name as name, comment
    from duckdb_views()
    where not internal and database_name = current_database()
),

entries as (
    select
        relations.kind, relations.name, relations.comment as about, duckdb_columns.column_index,
        duckdb_columns.column_name, duckdb_columns.data_type, duckdb_columns.comment
    from relations
    inner join duckdb_columns()
        on relations.oid = duckdb_columns.table_oid
        and duckdb_columns.database_name = current_database()
    union all
    select
        'macro' as kind, function_name, comment, len(parameters),
        function_name || '(' || array_to_string(parameters, ', ') || ')',
        if(function_type = 'table_macro', 'table', 'value'), null
    from duckdb_functions()
    where not internal and database_name = current_database()
)

select kind, name, about, column_name, data_type, comment
from entries
order by list_position(['table', 'view', 'macro'], kind), name, column_index
