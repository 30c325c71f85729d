--| title = "How much of attention entropy do four spectral descriptors explain together?"
--| theme = "What predicts entropy"
--| reading = """
--| A bar is R², the share of the variance of entropy over a model's heads that op_norm, spectral_entropy_nats, \
--| effective_modes and anisotropy explain by least squares. The black mark is chance: the mean R² of four descriptors \
--| that have nothing to do with it, 4 / (n - 1)."""
--| routine = "entropy_regression"
--| [chart]
--| crowd = {some = "intervals", many = "distribution"}
--| mark = {type = "bar", opacity = 0.75}
--| layers = [{mark = {type = "tick", color = "black", thickness = 2}, x = "chance_r_squared"}]
--| x = {shorthand = "r_squared:Q", scale = {domain = [0, 1]}, axis = {format = "%"}}
--| x_title = "R², share of the variance of entropy"
--| y = {shorthand = "model_id:N", title = ""}
--| yOffset = "prompt_set:N"
--| row = "operator:N"
--| height = {step = 32}
--| [parameters]
--| model = {}
select model_id, operator, prompt_set, entropy_nats, op_norm, spectral_entropy_nats, effective_modes, anisotropy
from head_predictors
where is_chosen(model_id, $model)
order by model_id, operator, prompt_set, layer, head
