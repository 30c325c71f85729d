--| wanted = "top1_overlap in [0, 1]"
select head, layer, other_layer, top1_overlap
from eigenvector_overlaps
where model_key = $model_key and top1_overlap not between 0 and 1
limit 1;
