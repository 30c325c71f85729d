--| title = "The spectral descriptor that goes best with attention, and how well"
--| theme = "What predicts entropy"
--| reading = """
--| A point is the largest Pearson r, in size, of ten descriptors over the heads of a model; its colour says which \
--| one, its bar is a 95% interval by leaving out one layer at a time. Chance is 0 for one descriptor, and further out \
--| for the best of ten: the p of entropy_predictors pays for that choice."""
--| [chart]
--| crowd = {some = "intervals", many = "distribution", y = "descriptor:N", color = "model_id:N"}
--| mark = {type = "point", filled = true, size = 70, opacity = 1}
--| layers = [{mark = {type = "rule", strokeWidth = 2}, x = "pearson_low", x2 = "pearson_high"}]
--| rules = [{x = 0, label = ""}]
--| x = {shorthand = "pearson_r:Q", scale = {domain = [-1, 1]}, axis = {values = [-1, -0.5, 0, 0.5, 1]}}
--| x_title = "Pearson r of the best descriptor"
--| y = {shorthand = "model_id:N", title = ""}
--| yOffset = "prompt_set:N"
--| color = "descriptor:N"
--| column = "target:N"
--| row = "operator:N"
--| width = 200
--| height = {step = 44}
--| [parameters]
--| model = {}
select model_id, operator, prompt_set, target, descriptor, n, n_layers, pearson_r, pearson_low, pearson_high
from best_descriptors
where is_chosen(model_id, $model) and operator in ('metric', 'head_product')
order by model_id, operator, prompt_set, target
