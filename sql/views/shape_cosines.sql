--| question = "Does a head's spectrum keep its shape from layer to layer?"
--| grain = ["model_id", "operator", "head", "layer", "other_layer"]
--| [keys]
--| other_layer = "second layer of the pair; every ordered pair is there, layer = other_layer too"
--| [columns]
--| cosine = "cosine of the two spectra, 0 to 1: 1 where one is a multiple of the other; null beside a zero head"
--| temperature = "factor that brings other_layer's spectrum nearest to layer's, > 0; null beside a zero head"
create or replace view shape_cosines as
with

sized_pairs as (
    select
        *,
        -- a zero head has no shape, and nothing can be scaled to it
        energy > 0 and other_energy > 0 as has_shapes
    from gram_pairs('spectral_grams')
),

cosines as (
    select
        model_id, operator, head, layer, other_layer,
        case when has_shapes then cosine_of(gram, energy, other_energy) end as cosine,
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
