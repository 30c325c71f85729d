--| wanted = "no product of two operators larger than that of their spectra"
--| source = "von Neumann 1937: |tr(A B)| <= the sum of the products of their singular values"
select
    grams.model_key,
    format(
        '{} of layers {} and {}, head {}: {:.9g} and {:.9g}',
        operator, layer, other_layer, head, grams.gram, spectral_grams.gram
    ) as found
from grams
inner join spectral_grams using (model_key, operator, head, layer, other_layer)
inner join models on grams.model_key = models.model_key
where models.weights_sha256 is not null and not abs(grams.gram) <= spectral_grams.gram * (1 + 1e-6)
