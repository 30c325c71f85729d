--| question = "Which layer do the others get compared with?"
--| grain = ["model_id", "operator", "anchor"]
--| kept = true
--| [keys]
--| anchor = """
--| last, middle, best (all measured layers), or best_early, best_mid, best_late (within the stratum alone); no row \
--| for an empty stratum"""
--| [columns]
--| anchor_layer = """
--| the layer: the last; the one at position L//2; or the one with the largest total_cosine, the first of several"""
--| total_cosine = """
--| sum over heads of the layer's shape cosines to the other layers (of its stratum for best_early, best_mid and \
--| best_late)"""
create or replace view anchors as
with

layer_pairs as (
    select
        model_id, operator, layer, other_layer,
        -- decimals add up to the same sum in any order, so that a tie is a tie
        coalesce(sum(cosine::decimal(18, 15)) filter (layer <> other_layer), 0) as total
    from shape_cosines
    group by model_id, operator, layer, other_layer
),

candidates as (
    select
        layer_pairs.model_id, layer_pairs.operator, layer_pairs.layer,
        measured_layers.position, measured_layers.n_measured, measured_layers.stratum,
        sum(layer_pairs.total) as total,
        sum(layer_pairs.total) filter (other_layers.stratum = measured_layers.stratum) as stratum_total
    from layer_pairs
    inner join measured_layers
        on layer_pairs.model_id = measured_layers.model_id
        and layer_pairs.layer = measured_layers.layer
    inner join measured_layers as other_layers
        on layer_pairs.model_id = other_layers.model_id
        and layer_pairs.other_layer = other_layers.layer
    group by
        layer_pairs.model_id, layer_pairs.operator, layer_pairs.layer,
        measured_layers.position, measured_layers.n_measured, measured_layers.stratum
),

-- each layer stands for every anchor that it may be
offers as (
    select
        model_id, operator, layer, position, n_measured,
        unnest(['last', 'middle', 'best', 'best_' || stratum]) as anchor,
        unnest([total, total, total, stratum_total]) as anchor_total
    from candidates
)

select
    model_id, operator, anchor,
    arg_max(layer, (anchor_total, -layer)) as anchor_layer,
    max(anchor_total)::double as total_cosine
from offers
where
    anchor like 'best%'
    or (anchor = 'last' and position = n_measured - 1)
    or (anchor = 'middle' and position = n_measured // 2)
group by model_id, operator, anchor;
