--| title = "a checksum of every model in every table"
create table if not exists table_checksums (
    model_key  bigint not null,
    table_name varchar not null,
    n_rows     bigint not null,
    checksum   ubigint not null,
    hash_mark  ubigint not null
);
