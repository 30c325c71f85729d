--| title = "How far the singular values of W_K W_Q^T are from those of the metric W_K^T W_Q"
--| theme = "Spectra"
--| reading = """
--| Medians over heads and ranks of |head_product - metric| / metric. The two share their non-zero eigenvalues, not \
--| their singular values: spectra of one never stand for the other."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = {size = 18}}
--| x = "layer:O"
--| y = {shorthand = "median_relative_difference:Q", axis = {format = "%"}}
--| y_title = "median |head_product - metric| / metric"
--| color = "model_id:N"
--| [parameters]
--| model = {}
select model_id, layer, median_relative_difference, median_ratio_of_largest, n_heads
from operator_spectra
where is_chosen(model_id, $model)
order by model_id, layer
