--| question = "Do a head's leading eigenvalues have the same signs in the same order as in an anchor layer?"
--| grain = ["model_id", "operator", "anchor_layer", "layer", "head", "k"]
--| [keys]
--| anchor_layer = """
--| layer that the others are compared with; every layer that has the head is offered, itself too (agreement 1)"""
--| k = "how many leading eigenvalues are compared: 2, 4, 8, … 256, at most as many as both layers' heads have"
--| [columns]
--| agreement = """
--| share of the first k signed eigenvalues, by falling magnitude, whose sign equals the anchor's at the same rank, 0 \
--| to 1; 1/2 by chance, since a random head and its negative are as likely; null beside a zero head"""
--| chance_agreement = """
--| the agreement to expect were each head's own positives anywhere among its first k: p p' + (1 - p)(1 - p') of their \
--| shares of positives; near 1 where both are of one sign; null beside a zero head"""
create or replace view sign_agreement as
with

signs as (
    select
        models.model_id, eigenvalues.operator, eigenvalues.layer, eigenvalues.head,
        string_agg(
            case when eigenvalues.eigenvalue > 0 then '+' when eigenvalues.eigenvalue < 0 then '-' else '0' end, ''
            order by eigenvalues.k
        ) as signs
    from eigenvalues
    inner join models on eigenvalues.model_key = models.model_key
    where eigenvalues.k < 256
    group by models.model_id, eigenvalues.operator, eigenvalues.layer, eigenvalues.head
),

ranks as (
    select unnest([2, 4, 8, 16, 32, 64, 128, 256]) as k
),

prefixes as (
    select
        signs.model_id, signs.operator, signs.layer, signs.head, ranks.k,
        -- largest magnitude first: where that is 0 all are
        case when signs.signs not like '0%' then left(signs.signs, ranks.k) end as prefix,
        1 - mismatches(prefix, repeat('+', ranks.k)) / ranks.k as positive_share
    from signs
    inner join ranks on ranks.k <= length(signs.signs)
),

-- one list a head and k: a self-join would look up each pair in the rows of every model
heads as (
    select
        model_id, operator, head, k,
        list({'layer': layer, 'prefix': prefix, 'positive_share': positive_share}) as layers
    from prefixes
    group by model_id, operator, head, k
),

anchored as (
    select model_id, operator, head, k, layers, unnest(layers) as anchor
    from heads
),

pairs as (
    select model_id, operator, head, k, anchor, anchor.layer as anchor_layer, unnest(layers) as compared
    from anchored
)

select
    model_id, operator, anchor_layer, compared.layer as layer, head, k,
    1 - mismatches(compared.prefix, anchor.prefix) / k as agreement,
    compared.positive_share * anchor.positive_share
    + (1 - compared.positive_share) * (1 - anchor.positive_share) as chance_agreement
from pairs;
