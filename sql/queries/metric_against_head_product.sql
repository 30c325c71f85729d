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
select
    model_id, layer,
    median(abs(product_sigma - metric_sigma) / nullif(metric_sigma, 0)) as median_relative_difference,
    median(product_sigma / nullif(metric_sigma, 0)) filter (k = 0) as median_ratio_of_largest,
    count(distinct head) as n_heads
from sigma_pairs($model)
where metric_sigma is not null and product_sigma is not null
group by model_id, layer
order by model_id, layer
