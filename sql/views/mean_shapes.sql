--| question = "How alike are the spectra of a head in different layers, over the heads of a model?"
--| grain = ["model_id", "operator"]
--| kept = true
--| [columns]
--| mean = "mean over heads of each head's mean shape cosine over pairs of layers, 0 to 1; null without pairs"
--| std = "population std of the heads' means; null without pairs"
--| min = "lowest of the heads' means; null without pairs"
--| max = "highest of the heads' means; null without pairs"
--| mean_log_correlation = """
--| mean over heads of the mean over pairs of layers of Pearson r of ln(sigma), -1 to 1; null without pairs"""
--| n_heads = "heads with a pair of layers in which they are not zero"
--| n_pairs = "pairs of layers, of all heads"
create or replace view mean_shapes as
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
)

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
group by model_id, operator;
