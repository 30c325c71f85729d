-- the files whose rows are there: the stage that each filled, and the options of its run
select ingested_stages.stage, ingest_runs.options
from ingested_stages
inner join models on ingested_stages.model_key = models.model_key
inner join ingest_runs on ingested_stages.run_id = ingest_runs.run_id
where models.model_id = $model_id
order by ingested_stages.stage;
