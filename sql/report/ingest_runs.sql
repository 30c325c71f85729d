--| title = "Ingest runs"
--| [parameters]
--| model = {}
select
    ingest_runs.started_at,
    ingest_runs.status,
    ingest_runs.seconds,
    ingest_runs.peak_rss_mb,
    ingest_runs.options,
    ingest_runs.versions
from ingest_runs
inner join models on ingest_runs.model_key = models.model_key
where models.model_id = $model
order by ingest_runs.started_at
