--| title = "How much of attention entropy do four spectral descriptors explain together?"
--| reading = "A bar is R², the share of the variance of entropy over a model's heads that op_norm, spectral_entropy_nats, effective_modes and anisotropy explain by least squares. The black mark is chance: the mean R² of four descriptors that have nothing to do with it, 4 / (n - 1)."
--| routine = "entropy_regression"
--| [parameters]
--| model = {}
select model_id, operator, prompt_set, entropy_nats, op_norm, spectral_entropy_nats, effective_modes, anisotropy
from head_predictors
where $model is null or model_id = $model
order by model_id, operator, prompt_set, layer, head
