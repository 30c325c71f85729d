--| question = "Is one operator, up to a factor, in all layers: how near is each layer's to an anchor's?"
--| grain = ["model_id", "operator", "anchor_layer"]
--| [keys]
--| anchor_layer = "layer that every measured layer is compared with; every measured layer is offered"
--| [columns]
--| mean_cosine_to_anchor = """
--| mean over layers, the anchor itself included, of the head mean of operator_cosines.cosine, -1 to 1; unrelated \
--| layers give 1 / n_layers; null where every head of the anchor is zero"""
--| mean_cosine_to_others = "the same with the anchor left out, 0 by chance; null with one layer"
--| adjacent_mean = """
--| mean of the head-mean cosine over pairs of adjacent measured layers, the same for every anchor, -1 to 1; null with \
--| one layer"""
--| adjacent_min = "least head-mean cosine of adjacent measured layers; null with one layer"
--| adjacent_max = "largest head-mean cosine of adjacent measured layers; null with one layer"
--| n_layers = "layers of mean_cosine_to_anchor, the anchor included"
--| verdict = "verdict_operator of mean_cosine_to_anchor: strong, medium, weak or rejected; null where the mean is"
--| verdict_others = "the same of mean_cosine_to_others"
create or replace view operator_verdicts as
with

pairs as (
    select model_id, operator, layer, other_layer as anchor_layer, mean_cosine, distance = -1 as is_next
    from with_distance('operator_cosines_by_layer')
),

anchored as (
    select
        model_id, operator, anchor_layer,
        avg(mean_cosine) as mean_cosine_to_anchor,
        avg(mean_cosine) filter (layer <> anchor_layer) as mean_cosine_to_others,
        max(mean_cosine) filter (is_next) as cosine_to_next,
        count(mean_cosine) as n_layers
    from pairs
    group by model_id, operator, anchor_layer
)

select
    model_id, operator, anchor_layer, mean_cosine_to_anchor, mean_cosine_to_others,
    avg(cosine_to_next) over per_model as adjacent_mean,
    min(cosine_to_next) over per_model as adjacent_min,
    max(cosine_to_next) over per_model as adjacent_max,
    n_layers,
    verdict_operator(mean_cosine_to_anchor) as verdict,
    verdict_operator(mean_cosine_to_others) as verdict_others
from anchored
window per_model as (partition by model_id, operator);
