--| title = "Doubts"
--| [parameters]
--| model = {}
select
    string_agg(ingested_stages.stage, ', ' order by ingested_stages.stage) as stages,
    ingested_stages.doubt
from ingested_stages
inner join models on ingested_stages.model_key = models.model_key
where models.model_id = $model and ingested_stages.doubt is not null
group by ingested_stages.doubt
order by ingested_stages.doubt
