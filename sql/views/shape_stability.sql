--| question = "Do the heads of a model keep the shape of their spectra through its layers?"
--| grain = ["model_id", "operator"]
--| [columns]
--| mean = "mean over heads of each head's mean shape cosine over pairs of layers, 0 to 1; null without pairs"
--| std = "population std of the heads' means; null without pairs"
--| min = "lowest of the heads' means; null without pairs"
--| max = "highest of the heads' means; null without pairs"
--| null_mean = """
--| mean shape cosine of random heads of the model's shape; null for head_product, and where there are no null \
--| spectra"""
--| mean_log_correlation = """
--| mean over heads of the mean over pairs of layers of Pearson r of ln(sigma), -1 to 1; null without pairs"""
--| n_heads = "heads with a pair of layers in which they are not zero"
--| n_pairs = "pairs of layers, of all heads"
--| verdict = """
--| verdict_shape of mean: very stable, approximately stable or not stable; null without pairs. Read it beside \
--| null_mean"""
create or replace view shape_stability as
with

heads as (
    select
        model_id, operator, head,
        avg(cosine) filter (layer < other_layer) as mean_cosine,
        count(cosine) filter (layer < other_layer) as n_pairs
    from shape_cosines
    group by model_id, operator, head
),

-- a union, as a join would keep `where model_id in (…)` from one of the two
means as (
    select model_id, operator, mean_cosine, null as mean_log_correlation, n_pairs
    from heads
    union all
    select model_id, operator, null, mean_log_correlation, 0
    from log_spectrum_correlations
),

stabilities as (
    select
        model_id, operator,
        avg(mean_cosine) as mean,
        stddev_pop(mean_cosine) as std,
        min(mean_cosine) as min,
        max(mean_cosine) as max,
        avg(mean_log_correlation) as mean_log_correlation,
        count(mean_cosine) as n_heads,
        sum(n_pairs)::bigint as n_pairs
    from means
    group by model_id, operator
)

select
    stabilities.model_id, stabilities.operator,
    stabilities.mean, stabilities.std, stabilities.min, stabilities.max,
    case when stabilities.operator <> 'head_product' then chance.null_mean end as null_mean,
    stabilities.mean_log_correlation, stabilities.n_heads, stabilities.n_pairs,
    verdict_shape(stabilities.mean) as verdict
from stabilities
left join chance_cosines() as chance on stabilities.model_id = chance.model_id;
