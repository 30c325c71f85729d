--| question = "Does a head's spectrum keep its shape from layer to layer?"
--| grain = ["model_id", "operator", "head", "layer", "other_layer"]
--| [keys]
--| other_layer = "second layer of the pair; every ordered pair is there, layer = other_layer too"
--| [columns]
--| cosine = "cosine of the two spectra, 0 to 1: 1 where one is a multiple of the other; null beside a zero head"
create or replace view shape_cosines as
with

-- one list a head: a self-join would look up each pair in the rows of every model
heads as (
    select
        models.model_id, spectral_grams.operator, spectral_grams.head,
        list({
            'layer': spectral_grams.layer,
            'other_layer': spectral_grams.other_layer,
            'gram': spectral_grams.gram
        }) as pairs,
        map_from_entries(
            list((spectral_grams.layer, spectral_grams.gram)) filter (spectral_grams.layer = spectral_grams.other_layer)
        ) as energies
    from spectral_grams
    inner join models on spectral_grams.model_key = models.model_key
    group by models.model_id, spectral_grams.operator, spectral_grams.head
),

pairs as (
    select model_id, operator, head, energies, unnest(pairs, recursive := true)
    from heads
),

cosines as (
    select
        model_id, operator, head, layer, other_layer,
        -- rounding must not lift a cosine above 1
        least(gram / nullif(sqrt(energies[layer] * energies[other_layer]), 0), 1) as cosine
    from pairs
)

select model_id, operator, head, layer, other_layer, cosine
from cosines
union all
select model_id, operator, head, other_layer, layer, cosine
from cosines
where layer < other_layer;
