--| question = """
--| How deep into the spectrum do the signs of the eigenvalues agree with an anchor layer's, early and late in the \
--| model?"""
--| grain = ["model_id", "operator", "anchor_layer", "k", "stratum"]
--| kept = true
--| [keys]
--| anchor_layer = "layer that the others are compared with; every layer is offered"
--| k = "how many leading eigenvalues are compared: 2, 4, 8, … 256, at most as many as both layers' heads have"
--| stratum = "early, mid or late: the third of the measured layers that the compared layer is in"
--| [columns]
--| mean_agreement = """
--| mean of sign_agreement.agreement over the layers of the stratum, the anchor itself included, and heads, 0 to 1; \
--| 1/2 by chance; null where all are zero heads"""
--| mean_agreement_others = "the same with the anchor layer left out; null where the stratum has no other layer"
--| mean_chance_agreement = """
--| mean of sign_agreement.chance_agreement, the anchor layer left out: what the heads' shares of positives alone \
--| would give; null as above"""
--| n_layers = "layers of mean_agreement_others"
--| n_pairs = "heads times layers of mean_agreement_others"
create or replace view sign_agreement_by_stratum as
select
    sign_agreement.model_id, sign_agreement.operator, sign_agreement.anchor_layer, sign_agreement.k,
    measured_layers.stratum,
    avg(sign_agreement.agreement) as mean_agreement,
    avg(sign_agreement.agreement) filter (sign_agreement.layer <> sign_agreement.anchor_layer)
        as mean_agreement_others,
    avg(sign_agreement.chance_agreement) filter (sign_agreement.layer <> sign_agreement.anchor_layer)
        as mean_chance_agreement,
    count(distinct sign_agreement.layer) filter (
        sign_agreement.layer <> sign_agreement.anchor_layer and sign_agreement.agreement is not null
    ) as n_layers,
    count(sign_agreement.agreement) filter (sign_agreement.layer <> sign_agreement.anchor_layer) as n_pairs
from sign_agreement
inner join measured_layers
    on sign_agreement.model_id = measured_layers.model_id
    and sign_agreement.layer = measured_layers.layer
group by
    sign_agreement.model_id, sign_agreement.operator, sign_agreement.anchor_layer, sign_agreement.k,
    measured_layers.stratum;
