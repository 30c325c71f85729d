--| wanted = "cosine in [0, 1] and, within a pair, not rising with k"
select head, basis, layer, other_layer, k, cosine
from (
    -- follows the stored order, which load/count_rows.sql has proved to be that of the key
    select head, basis, layer, other_layer, k, cosine, lag(cosine) over () as previous_cosine
    from principal_cosines
    where model_key = $model_key
)
where cosine not between 0 and 1 or (k > 0 and cosine > previous_cosine)
limit 1;
