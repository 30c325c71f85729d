--| question = "How well does each layer's spectrum fit an anchor layer's, times one factor?"
--| grain = ["model_id", "operator", "head", "layer", "anchor_layer"]
--| [keys]
--| anchor_layer = "layer whose spectrum is scaled; every layer is offered, layer = anchor_layer too"
--| [columns]
--| temperature = "factor of least squares, <sigma, anchor's sigma> / |anchor's sigma|^2, > 0; null beside a zero head"
--| residual = "|sigma - temperature * anchor's sigma| / |sigma|, 0 (a rescaled copy) to 1; null beside a zero head"
--| cosine = "shape cosine of the two spectra, 0 to 1; null beside a zero head"
create or replace view rescale_fits as
select
    model_id, operator, head, layer,
    other_layer as anchor_layer,
    temperature,
    -- the remainder of a projection; what is below 1e-7 is rounding
    sqrt(1 - cosine * cosine) as residual,
    cosine
from shape_cosines;
