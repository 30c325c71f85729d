--| title = "How surely does each spectral descriptor go with attention entropy?"
--| reading = "A"
--| routine = "entropy_predictors"
--| [parameters]
--| model = {}
select
    model_id, operator, prompt_set, 'entropy_nats' as target, layer, head, entropy_nats as outcome,
    op_norm, fro_norm, nuclear_norm, effective_modes, effective_rank, spectral_entropy_nats,
    anisotropy, condition_number, stable_rank, participation_ratio
from head_predictors
where $model is null or model_id = $model
order by model_id, operator, prompt_set, layer, head
