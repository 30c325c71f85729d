--| wanted = "overlap and mean_overlap in [0, 1], no rank above the one before it, the mean not above rank 0"
select side, layer, head, rank, overlap, mean_overlap
from (
    -- follows the stored order, which load/count_rows.sql has proved to be that of the key
    select side, layer, head, rank, overlap, mean_overlap, lag(overlap) over () as previous_overlap
    from head_matches
    where model_key = $model_key
)
where
    overlap not between 0 and 1
    or mean_overlap not between 0 and 1
    or (rank > 0 and overlap > previous_overlap)
    or (rank = 0 and mean_overlap > overlap + 1e-6)
limit 1;
