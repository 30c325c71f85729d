--| wanted = "the product of each spectrum with itself to be the sum of its squares"
-- sigma is stored in float32, the products in float64
with

squares as (
    select model_key, operator, layer, head, sum(sigma::double * sigma) as square
    from singular_values
    group by model_key, operator, layer, head
)

select
    spectral_grams.model_key,
    format('{} of layer {}, head {}: {:.9g} and {:.9g}', operator, layer, head, gram, square) as found
from spectral_grams
inner join squares using (model_key, operator, layer, head)
where spectral_grams.layer = spectral_grams.other_layer and not abs(gram - square) <= 1e-6 * square + 1e-37
