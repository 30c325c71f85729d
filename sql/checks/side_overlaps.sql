--| wanted = "overlap in [0, 1]"
select head, side, layer, other_layer, overlap
from side_overlaps
where model_key = $model_key and overlap not between 0 and 1
limit 1;
