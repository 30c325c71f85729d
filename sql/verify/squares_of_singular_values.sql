--| wanted = "the squared singular values of each head to add up to its squared Frobenius norm"
-- sigma is stored in float32, which is 1e-7 of it; files of other tools may be rounded further
with

squares as (
    select model_key, operator, layer, head, sum(sigma::double * sigma) as square
    from singular_values
    group by model_key, operator, layer, head
),

norms as (
    select model_key, operator, layer, head, metric_fro_sq as fro_sq
    from head_norms
    union all
    select model_key, 'head_product' as operator, layer, head, head_product_fro_sq as fro_sq
    from head_norms
    where operator = 'metric'
)

select
    squares.model_key,
    format('{} of layer {}, head {}: {:.9g} and {:.9g}', operator, layer, head, square, fro_sq) as found
from squares
inner join norms using (model_key, operator, layer, head)
inner join models on squares.model_key = models.model_key
where models.weights_sha256 is not null and not abs(square - fro_sq) <= 1e-6 * fro_sq + 1e-37
