--| question = "Does a head's spectrum keep its shape from layer to layer?"
--| grain = ["model_id", "operator", "head", "layer", "other_layer"]
--| [keys]
--| other_layer = "second layer of the pair; every ordered pair is there, layer = other_layer too"
--| [columns]
--| cosine = "cosine of the two spectra, 0 to 1: 1 where one is a multiple of the other; null beside a zero head"
--| temperature = "factor that brings other_layer's spectrum nearest to layer's, > 0; null beside a zero head"
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

sized_pairs as (
    select
        model_id, operator, head, layer, other_layer, gram,
        energies[layer] as energy,
        energies[other_layer] as other_energy,
        -- a zero head has no shape, and nothing can be scaled to it
        energies[layer] > 0 and energies[other_layer] > 0 as has_shapes
    from pairs
),

cosines as (
    select
        model_id, operator, head, layer, other_layer,
        -- rounding must not lift a cosine above 1; least() alone takes null for 1
        case when has_shapes then least(gram / sqrt(energy * other_energy), 1) end as cosine,
        case when has_shapes then gram / other_energy end as temperature,
        case when has_shapes then gram / energy end as other_temperature
    from sized_pairs
)

select model_id, operator, head, layer, other_layer, cosine, temperature
from cosines
union all
select model_id, operator, head, other_layer, layer, cosine, other_temperature
from cosines
where layer < other_layer;
