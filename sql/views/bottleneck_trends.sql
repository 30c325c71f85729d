--| question = "Do a head's subspaces converge towards a layer and part again after it, more than any neighbours do?"
--| grain = ["model_id", "head", "side", "bottleneck_layer"]
--| kept = true
--| [keys]
--| bottleneck_layer = "the layer that the others are compared with; every layer with the head is offered"
--| [columns]
--| mean_all = "mean overlap with the head in all other layers, 0 to 1; null without one"
--| mean_before = "mean overlap with the layers before it; null without one"
--| mean_after = "mean overlap with the layers after it; null without one"
--| pre_trend = """
--| Pearson r of overlap and layer, over the layers before it; null under three, or where overlap is constant"""
--| post_trend = "the same over the layers after it"
--| verdict = """
--| verdict_trends of the two: convergence point, partial or none; null where a trend is. Decay with distance alone \
--| passes for convergence"""
--| pre_trend_detrended = """
--| pre_trend of the overlap minus the head's mean overlap at that distance: what decay with distance leaves; about 0 \
--| by chance"""
--| post_trend_detrended = "post_trend of the same"
--| verdict_detrended = "the same of the two detrended trends"
--| chance = "subspace_size / hidden_size, what random subspaces overlap by; null where hidden_size is unknown"
--| n_before = "layers before it in the means; zero heads are left out"
--| n_after = "layers after it in the means"
create or replace view bottleneck_trends as
with

pairs as (
    select
        model_id, head, side, chance,
        paired.layer as bottleneck_layer,
        other_layer as layer,
        -- the layer itself is left out, but keeps its row
        nullif(abs(paired.distance), 0) as distance,
        if(paired.distance = 0, null, paired.overlap) as overlap,
        other_layer < paired.layer as is_before
    from with_distance('subspace_overlaps') as paired
),

excesses as (
    -- every pair stands here in both orders, which leaves the mean of overlap_by_distance as it is
    select *, overlap - avg(overlap) over (partition by model_id, head, side, distance) as excess
    from pairs
),

trends as (
    select
        model_id, head, side, bottleneck_layer,
        avg(overlap) as mean_all,
        avg(overlap) filter (is_before) as mean_before,
        avg(overlap) filter (not is_before) as mean_after,
        count(overlap) filter (is_before) as n_before,
        count(overlap) filter (not is_before) as n_after,
        pearson_r(if(is_before, overlap, null), layer, least := 3) as pre_trend,
        pearson_r(if(is_before, null, overlap), layer, least := 3) as post_trend,
        pearson_r(if(is_before, excess, null), layer, least := 3) as pre_trend_detrended,
        pearson_r(if(is_before, null, excess), layer, least := 3) as post_trend_detrended,
        any_value(chance) as chance
    from excesses
    group by model_id, head, side, bottleneck_layer
)

select
    model_id, head, side, bottleneck_layer, mean_all, mean_before, mean_after, pre_trend, post_trend,
    verdict_trends(pre_trend, post_trend) as verdict,
    pre_trend_detrended, post_trend_detrended,
    verdict_trends(pre_trend_detrended, post_trend_detrended) as verdict_detrended,
    chance, n_before, n_after
from trends;
