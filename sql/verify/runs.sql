--| wanted = "the run that wrote each stage, and a stage for each model"
select ingested_stages.model_key, format('stage {} is of a run that is not there', stage) as found
from ingested_stages
left join ingest_runs on ingested_stages.run_id = ingest_runs.run_id
where ingest_runs.run_id is null
union all
select models.model_key, 'no stage is noted' as found
from models
left join ingested_stages on models.model_key = ingested_stages.model_key
where ingested_stages.model_key is null
