--| title = "Left out, and why"
--| [parameters]
--| model = {}
select skipped_modules.module, skipped_modules.stage, skipped_modules.reason
from skipped_modules
inner join models on skipped_modules.model_key = models.model_key
where models.model_id = $model
order by skipped_modules.stage, skipped_modules.module
