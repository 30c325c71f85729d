--| title = "What this file is: one row."
--| grain = ["schema_version"]
--| [columns]
--| schema_version = "layout of the tables; a program of another layout refuses the file"
--| created_by = "program and version that made the tables and views as they are"
--| built_from = "hash of the files that declare tables and views; where it differs they are brought up to date"
create table if not exists warehouse_info (
    schema_version integer not null,
    created_by     varchar not null,
    built_from     varchar not null
);
