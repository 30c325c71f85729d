--| title = "What this file is: one row."
--| grain = ["schema_version"]
--| [columns]
--| schema_version = "layout of the tables; a program of another layout refuses the file"
--| created_by = "program and version that made the file"
create table if not exists warehouse_info (
    schema_version integer not null,
    created_by     varchar not null
);
