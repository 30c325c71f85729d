--| question = "How well does each head's spectrum fit that of a named anchor layer, times one factor?"
--| grain = ["model_id", "operator", "anchor", "layer", "head"]
--| [keys]
--| anchor = "which layer the others are fitted to: a name of view anchors"
--| [columns]
--| anchor_layer = "the anchor's layer"
--| temperature = "factor of least squares from the anchor's spectrum to the layer's, > 0; null beside a zero head"
--| residual = "share of the spectrum's length that the fit leaves, 0 (a rescaled copy) to 1; null beside a zero head"
create or replace view anchor_fits as
with

-- a union and one list a layer: a join would keep `where model_id in (…)` from one of the two
offers as (
    select model_id, operator, anchor_layer, anchor, null as fit
    from anchors
    union all
    select
        model_id, operator, anchor_layer, null,
        {'layer': layer, 'head': head, 'temperature': temperature, 'residual': residual}
    from rescale_fits
),

layer_offers as (
    select
        model_id, operator, anchor_layer,
        unnest(list(anchor) filter (anchor is not null)) as anchor,
        list(fit) filter (fit is not null) as fits
    from offers
    group by model_id, operator, anchor_layer
),

fits as (
    select model_id, operator, anchor, anchor_layer, unnest(fits, recursive := true)
    from layer_offers
)

select model_id, operator, anchor, layer, head, anchor_layer, temperature, residual
from fits;
