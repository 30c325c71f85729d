--| question = "Do a head's subspaces converge towards a layer and part again after it, more than any neighbours do?"
--| grain = ["model_id", "head", "side", "bottleneck_layer"]
--| [keys]
--| bottleneck_layer = "the layer that the others are compared with; every layer with the head is offered"
--| [columns]
--| mean_all = "mean overlap with the head in all other layers, 0 to 1; null without one"
--| mean_before = "mean overlap with the layers before it; null without one"
--| mean_after = "mean overlap with the layers after it; null without one"
--| pre_trend = "Pearson r of overlap and layer, over the layers before it; null under three, or where overlap is constant"
--| post_trend = "the same over the layers after it"
--| verdict = "convergence point: pre_trend > 0.3 and post_trend < -0.3; partial: pre_trend > 0.3; else none; null where a trend is. Decay with distance alone passes for convergence"
--| pre_trend_detrended = "pre_trend of the overlap minus the head's mean overlap at that distance: what decay with distance leaves; about 0 by chance"
--| post_trend_detrended = "post_trend of the same"
--| verdict_detrended = "verdict of the two detrended trends"
--| chance = "subspace_size / hidden_size, what random subspaces overlap by; null where hidden_size is unknown"
--| n_before = "layers before it in the means; zero heads are left out"
--| n_after = "layers after it in the means"
create or replace view bottleneck_trends as
with

pairs as (
    select
        subspace_overlaps.model_id, subspace_overlaps.head, subspace_overlaps.side, subspace_overlaps.chance,
        subspace_overlaps.layer as bottleneck_layer,
        subspace_overlaps.other_layer as layer,
        -- the layer itself is left out, but keeps its row
        nullif(abs(there.position - here.position), 0) as distance,
        if(distance is null, null, subspace_overlaps.overlap) as overlap,
        subspace_overlaps.other_layer < subspace_overlaps.layer as is_before
    from subspace_overlaps
    inner join measured_layers as here
        on subspace_overlaps.model_id = here.model_id
        and subspace_overlaps.layer = here.layer
    inner join measured_layers as there
        on subspace_overlaps.model_id = there.model_id
        and subspace_overlaps.other_layer = there.layer
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
        -- corr of a constant is NaN
        if(n_before < 3, null, nullif(corr(overlap, layer) filter (is_before), 'nan')) as pre_trend,
        if(n_after < 3, null, nullif(corr(overlap, layer) filter (not is_before), 'nan')) as post_trend,
        if(n_before < 3, null, nullif(corr(excess, layer) filter (is_before), 'nan')) as pre_trend_detrended,
        if(n_after < 3, null, nullif(corr(excess, layer) filter (not is_before), 'nan')) as post_trend_detrended,
        any_value(chance) as chance
    from excesses
    group by model_id, head, side, bottleneck_layer
)

select
    model_id, head, side, bottleneck_layer, mean_all, mean_before, mean_after, pre_trend, post_trend,
    case
        when pre_trend is null or post_trend is null then null
        when pre_trend > 0.3 then if(post_trend < -0.3, 'convergence point', 'partial')
        else 'none'
    end as verdict,
    pre_trend_detrended, post_trend_detrended,
    case
        when pre_trend_detrended is null or post_trend_detrended is null then null
        when pre_trend_detrended > 0.3 then if(post_trend_detrended < -0.3, 'convergence point', 'partial')
        else 'none'
    end as verdict_detrended,
    chance, n_before, n_after
from trends;
