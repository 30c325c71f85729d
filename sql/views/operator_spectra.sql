--| question = "How far are the singular values of W_K W_Q^T from those of the metric W_K^T W_Q?"
--| grain = ["model_id", "layer"]
--| kept = true
--| [columns]
--| median_relative_difference = """
--| median over heads and ranks of |head_product - metric| / metric, without those where the metric's is 0; null \
--| without any"""
--| median_ratio_of_largest = "median over heads of the largest singular value of head_product over the metric's"
--| n_heads = "heads that have both spectra"
create or replace view operator_spectra as
select
    model_id, layer,
    median(abs(product_sigma - metric_sigma) / nullif(metric_sigma, 0)) as median_relative_difference,
    median(product_sigma / nullif(metric_sigma, 0)) filter (k = 0) as median_ratio_of_largest,
    count(distinct head) as n_heads
from sigma_pairs()
where metric_sigma is not null and product_sigma is not null
group by model_id, layer;
