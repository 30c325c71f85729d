--| title = "a version of every stage, raised when its numbers change, in place of the code's"
alter table if exists ingested_stages add column if not exists version integer default 1;
alter table if exists ingested_stages add column if not exists config_sha256 varchar;
