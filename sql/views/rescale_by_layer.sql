--| question = "How well does each layer fit an anchor layer, over its heads?"
--| grain = ["model_id", "operator", "anchor_layer", "layer"]
--| kept = true
--| [keys]
--| anchor_layer = "layer whose spectra are scaled; every layer is offered, layer = anchor_layer too"
--| [columns]
--| mean_residual = "mean over heads of the residual, 0 (rescaled copies) to 1; null where every pair has a zero head"
--| max_residual = "largest residual of a head, 0 to 1; null where every pair has a zero head"
--| mean_temperature = """
--| mean over heads of the factor from the anchor's spectrum to the layer's; null where every pair has a zero head"""
--| n_heads = "heads that both layers have and that are zero in neither"
--| mean_cosine = "mean over heads of the shape cosine, 0 to 1; null where every pair has a zero head"
create or replace view rescale_by_layer as
select
    model_id, operator, anchor_layer, layer,
    avg(residual) as mean_residual,
    max(residual) as max_residual,
    avg(temperature) as mean_temperature,
    count(residual) as n_heads,
    avg(cosine) as mean_cosine
from rescale_fits
group by model_id, operator, anchor_layer, layer;
