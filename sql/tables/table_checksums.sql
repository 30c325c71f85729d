--| title = "What a load left of each model in each table: rows and a checksum, to find what was changed or lost since."
--| grain = ["model_key", "table_name"]
--| [columns]
--| model_key = "models.model_key of the attention stack; 0 for a table that belongs to no model"
--| table_name = "the table"
--| n_rows = "the model's rows in it"
--| checksum = """
--| sum of DuckDB's hash of each row's columns but model_key, modulo 2^64: the same in whatever order the rows lie"""
--| hash_mark = """
--| what that hash gave for fixed values: a DuckDB that gives another for them can't compare the checksum"""
create table if not exists table_checksums (
    model_key  bigint not null,
    table_name varchar not null,
    n_rows     bigint not null,
    checksum   ubigint not null,
    hash_mark  ubigint not null
);
