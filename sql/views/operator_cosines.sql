--| question = "Is a head's operator in one layer the operator of another layer, or a multiple of it?"
--| grain = ["model_id", "operator", "head", "layer", "other_layer"]
--| [keys]
--| other_layer = "the layer compared with, the anchor of temperature; every ordered pair is there, layer = other_layer too"
--| [columns]
--| cosine = "<M, M'> / (|M| |M'|), -1 to 1: 1 where M is a positive multiple of M', 0 by chance; null beside a zero head"
--| temperature = "<M, M'> / |M'|^2, the multiple of the other layer's operator that is nearest to M; null beside a zero head"
--| residual = "share of |M| that no multiple of the other layer's operator reaches, 0 to 1, sqrt(1 - cosine^2); null beside a zero head"
create or replace view operator_cosines as
with

-- one list a head: a self-join would look up each pair in the rows of every model
heads as (
    select
        models.model_id, grams.operator, grams.head,
        list({'layer': grams.layer, 'other_layer': grams.other_layer, 'gram': grams.gram}) as pairs,
        map_from_entries(list((grams.layer, grams.gram)) filter (grams.layer = grams.other_layer)) as energies
    from grams
    inner join models on grams.model_key = models.model_key
    group by models.model_id, grams.operator, grams.head
),

pairs as (
    select model_id, operator, head, energies, unnest(pairs, recursive := true)
    from heads
),

looked_up as (
    select
        model_id, operator, head, layer, other_layer, gram,
        -- a zero head has no direction, and is no multiple of anything
        nullif(energies[layer], 0) as energy,
        nullif(energies[other_layer], 0) as other_energy
    from pairs
),

ordered as (
    select model_id, operator, head, layer, other_layer, gram, energy, other_energy
    from looked_up
    union all
    select model_id, operator, head, other_layer, layer, gram, other_energy, energy
    from looked_up
    where layer < other_layer
),

cosines as (
    select
        model_id, operator, head, layer, other_layer,
        -- rounding must not lift a cosine out of [-1, 1]; greatest() skips nulls
        case
            when energy is not null and other_energy is not null
                then greatest(least(gram / sqrt(energy * other_energy), 1), -1)
        end as cosine,
        case when energy is not null then gram / other_energy end as temperature
    from ordered
)

select
    model_id, operator, head, layer, other_layer, cosine, temperature,
    sqrt(1 - cosine * cosine) as residual
from cosines;
