--| about = "the median relative difference of the two operators' singular values, over all heads and ranks"
select
    model_id,
    format(
        'The singular values of W_K W_Q^T are off the metric''s by {:.0f} % (median of {} values of {} layers); the'
        || ' largest are {:.2f} times the metric''s in the median head. The same spectrum would have 0 % and 1.',
        100 * median(abs(product_sigma - metric_sigma) / metric_sigma), count(*), count(distinct layer),
        median(product_sigma / metric_sigma) filter (k = 0)
    ) as sentence
from sigma_pairs($model)
where
    metric_sigma > 0
    and product_sigma is not null
group by model_id
order by model_id
