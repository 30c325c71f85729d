--| wanted = "the product of each head's operator with itself to be its squared Frobenius norm"
select
    grams.model_key,
    format('{} of layer {}, head {}: {:.9g} and {:.9g}', operator, layer, head, gram, metric_fro_sq) as found
from grams
inner join head_norms using (model_key, operator, layer, head)
where grams.layer = grams.other_layer and not abs(gram - metric_fro_sq) <= 1e-6 * metric_fro_sq
