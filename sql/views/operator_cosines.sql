--| question = "Is a head's operator in one layer the operator of another layer, or a multiple of it?"
--| grain = ["model_id", "operator", "head", "layer", "other_layer"]
--| [keys]
--| other_layer = """
--| the layer compared with, the anchor of temperature; every ordered pair is there, layer = other_layer too"""
--| [columns]
--| cosine = """
--| <M, M'> / (|M| |M'|), -1 to 1: 1 where M is a positive multiple of M', 0 by chance; null beside a zero head"""
--| temperature = """
--| <M, M'> / |M'|^2, the multiple of the other layer's operator that is nearest to M; null beside a zero head"""
--| residual = """
--| share of |M| that no multiple of the other layer's operator reaches, 0 to 1, sqrt(1 - cosine^2); null beside a \
--| zero head"""
create or replace view operator_cosines as
with

pairs as (
    select
        model_id, operator, head, layer, other_layer, gram,
        -- a zero head has no direction, and is no multiple of anything
        nullif(energy, 0) as energy,
        nullif(other_energy, 0) as other_energy
    from gram_pairs('grams')
),

ordered as (
    select model_id, operator, head, layer, other_layer, gram, energy, other_energy
    from pairs
    union all
    select model_id, operator, head, other_layer, layer, gram, other_energy, energy
    from pairs
    where layer < other_layer
),

cosines as (
    select
        model_id, operator, head, layer, other_layer,
        cosine_of(gram, energy, other_energy) as cosine,
        case when energy is not null then gram / other_energy end as temperature
    from ordered
)

select
    model_id, operator, head, layer, other_layer, cosine, temperature,
    sqrt(1 - cosine * cosine) as residual
from cosines;
