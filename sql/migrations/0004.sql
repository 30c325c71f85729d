--| title = "witnesses of dequantized weights, and doubts of rows whose checkpoint is read in another way since"
alter table if exists warehouse_info add column if not exists built_from varchar;
-- a warehouse may lack a table that was added within schema 3: it is made with the others, after this
alter table if exists conformance add column if not exists witness varchar;
alter table if exists conformance add column if not exists witness_max_rel_error float;
alter table if exists ingested_stages add column if not exists doubt varchar;
-- and this column, if it was made before latent attention could be measured
alter table if exists layers add column if not exists position_dim integer;
