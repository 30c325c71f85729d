--| wanted = "sigma >= 0 and, within a head, not rising with k"
select operator, layer, head, k, sigma
from (
    -- follows the stored order, which load/count_rows.sql has proved to be that of the key
    select operator, layer, head, k, sigma, lag(sigma) over () as previous_sigma
    from singular_values
    where model_key = $model_key
)
where sigma < 0 or (k > 0 and sigma > previous_sigma)
limit 1;
