--| wanted = "eigenvectors of unit length"
select
    eigenvectors.model_key,
    format('layer {}, head {}, k {}: {:.9g}', layer, head, k, list_inner_product(vector, vector)) as found
from eigenvectors
where not abs(list_inner_product(vector, vector) - 1) <= 1e-4
