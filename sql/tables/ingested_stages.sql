--| title = "The measurement stages whose rows are in the warehouse, with what they were made from."
--| grain = ["model_key", "stage"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| stage = "stage of the ingest"
--| fingerprint = """
--| hash of the weights, the stage's version and its options; equal where measuring again would change nothing"""
--| run_id = "ingest_runs.run_id of the run that wrote the rows"
--| doubt = """
--| why the rows of this stage no longer count as proved: how its checkpoint is stored is read in another way since; \
--| null where they do"""
--| version = """
--| of the stage that wrote the rows; its author raises it when measured values change, and older rows are stale"""
--| config_sha256 = """
--| hash of the config and code beside the weights, and of the tokenizer where text was measured; \
--| null where it was not kept"""
create table if not exists ingested_stages (
    model_key     bigint not null,
    stage         varchar not null,
    fingerprint   varchar not null,
    run_id        varchar not null,
    doubt         varchar,
    version       integer default 1,
    config_sha256 varchar,
    primary key (model_key, stage)
);
