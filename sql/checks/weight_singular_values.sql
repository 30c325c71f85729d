--| wanted = "sigma >= 0 and, within a matrix, not rising with k"
select layer, weight, expert, k, sigma
from (
    -- follows the stored order, which load/count_rows.sql has proved to be that of the key
    select layer, weight, expert, k, sigma, lag(sigma) over () as previous_sigma
    from weight_singular_values
    where model_key = $model_key
)
where sigma < 0 or (k > 0 and sigma > previous_sigma)
limit 1;
