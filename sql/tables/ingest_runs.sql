--| title = "The ingests that wrote to the warehouse: one row a run and stack."
--| grain = ["run_id"]
--| [columns]
--| run_id = "the run's own key, one for each stack that it wrote"
--| model_key = "models.model_key of the attention stack"
--| started_at = "start of the run, UTC"
--| finished_at = "end of the measurements, UTC"
--| status = """
--| done, or replaced where the model_id was since bound to other weights by force and nothing of the run is left"""
--| seconds = "wall time of the run, seconds"
--| peak_rss_mb = "peak resident memory of the run, 10^6 bytes; null where unknown"
--| options = "the run's options, a JSON object"
--| versions = "versions of the code and the libraries, a JSON object"
--| stages = "what each stage took, JSON: {stage: {seconds, peak_rss_mb}}"
create table if not exists ingest_runs (
    run_id      varchar not null,
    model_key   bigint not null,
    started_at  timestamp not null,
    finished_at timestamp not null check (finished_at >= started_at),
    status      varchar not null check (status in ('done', 'replaced')),
    seconds     double not null check (seconds >= 0 and seconds < 'infinity'),
    peak_rss_mb double check (peak_rss_mb >= 0 and peak_rss_mb < 'infinity'),
    options     varchar not null,
    versions    varchar not null,
    stages      varchar not null,
    primary key (run_id)
);
