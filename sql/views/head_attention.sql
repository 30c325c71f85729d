--| question = "How spread out is the attention of each head over a prompt set?"
--| grain = ["model_id", "prompt_set", "layer", "head"]
--| [columns]
--| "*" = "tables/head_attention_rollup"
create or replace view head_attention as
select models.model_id, head_attention_rollup.* exclude (model_key)
from head_attention_rollup
inner join models on head_attention_rollup.model_key = models.model_key;
