--| question = "How large and how flat is the spectrum of each head?"
--| grain = ["model_id", "operator", "layer", "head"]
--| source = "Roy & Vetterli 2007 (effective_rank); Rudelson & Vershynin 2007 (stable_rank)"
--| [columns]
--| "*" = "tables/head_descriptor_rollup"
create or replace view head_descriptors as
select models.model_id, head_descriptor_rollup.* exclude (model_key)
from head_descriptor_rollup
inner join models on head_descriptor_rollup.model_key = models.model_key;
