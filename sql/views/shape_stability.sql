--| question = "Do the heads of a model keep the shape of their spectra through its layers?"
--| grain = ["model_id", "operator"]
--| [columns]
--| mean = "mean over heads of each head's mean shape cosine over pairs of layers, 0 to 1; null without pairs"
--| std = "population std of the heads' means; null without pairs"
--| min = "lowest of the heads' means; null without pairs"
--| max = "highest of the heads' means; null without pairs"
--| null_mean = "mean shape cosine of random heads of the model's shape; null for head_product, and where there are no null spectra"
--| mean_log_correlation = "mean over heads of the mean over pairs of layers of Pearson r of ln(sigma), -1 to 1; null without pairs"
--| n_heads = "heads with a pair of layers in which they are not zero"
--| n_pairs = "pairs of layers, of all heads"
--| verdict = "very stable (mean > 0.98), approximately stable (> 0.9), not stable; null without pairs. Read it beside null_mean"
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
    case when stabilities.operator <> 'head_product' then null_cosines.null_mean end as null_mean,
    stabilities.mean_log_correlation, stabilities.n_heads, stabilities.n_pairs,
    case
        when stabilities.mean > 0.98 then 'very stable'
        when stabilities.mean > 0.9 then 'approximately stable'
        when stabilities.mean is not null then 'not stable'
    end as verdict
from stabilities
inner join models on stabilities.model_id = models.model_id
left join null_cosines
    on stabilities.model_id = null_cosines.model_id
    and models.head_dim = null_cosines.head_dim;
