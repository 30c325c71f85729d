-- rows that an import of one operator's spectra must keep
select
    spectral_grams.operator, spectral_grams.head, spectral_grams.layer, spectral_grams.other_layer,
    spectral_grams.gram
from spectral_grams
inner join models on spectral_grams.model_key = models.model_key
where models.model_id = $model_id and spectral_grams.operator <> $operator
order by all;
