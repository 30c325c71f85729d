--| question = "What does the user say of each model?"
--| grain = ["model_id", "tag"]
--| [columns]
--| value = "as it was given"
--| number = "the value as a number, a date as a year with its fraction; null where it is neither"
create or replace view tags as
select models.model_id, model_tags.tag, model_tags.value, number_of(model_tags.value) as number
from model_tags
inner join models on model_tags.model_key = models.model_key;
