--| question = "Do weight rank, overlap with the bottleneck and MLP alignment rise and fall together over layers?"
--| grain = ["model_id", "side", "pair"]
--| source = "Fisher 1921 (the interval)"
--| [keys]
--| pair = """
--| two columns of layer_profiles: effective_rank~bottleneck_overlap, effective_rank~ffn_alignment, \
--| bottleneck_overlap~ffn_alignment"""
--| [columns]
--| n = "layers that have both"
--| pearson_r = "Pearson correlation over those layers, -1 to 1; null under three, or where one is constant"
--| pearson_low = "lower end of Fisher's 95 % interval, as if layers were independent; null under n = 4"
--| pearson_high = "upper end of it"
create or replace view profile_correlations as
with

pairs as (
    select
        model_id, side,
        unnest([
            {'pair': 'effective_rank~bottleneck_overlap', 'one': mean_effective_rank, 'other': bottleneck_overlap},
            {'pair': 'effective_rank~ffn_alignment', 'one': mean_effective_rank, 'other': ffn_alignment},
            {'pair': 'bottleneck_overlap~ffn_alignment', 'one': bottleneck_overlap, 'other': ffn_alignment}
        ], recursive := true)
    from layer_profiles
),

correlations as (
    select
        model_id, side, pair,
        count(*) filter (one is not null and other is not null) as n,
        pearson_r(one, other, least := 3) as pearson_r
    from pairs
    group by model_id, side, pair
),

intervals as (
    select
        *,
        -- rounding must not lift a correlation above 1, where atanh ends
        atanh(if(abs(pearson_r) > 1, sign(pearson_r), pearson_r)) as z,
        -- 0.975 quantile of the normal distribution over the standard error of z
        case when n > 3 then 1.959963984540054 / sqrt(n - 3) end as margin
    from correlations
)

select
    model_id, side, pair, n, pearson_r,
    tanh(z - margin) as pearson_low,
    tanh(z + margin) as pearson_high
from intervals;
