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
-- chance apart: another model may bring it later
select
    mean_shapes.model_id, mean_shapes.operator, mean_shapes.mean, mean_shapes.std, mean_shapes.min, mean_shapes.max,
    case when mean_shapes.operator <> 'head_product' then chance.null_mean end as null_mean,
    mean_shapes.mean_log_correlation, mean_shapes.n_heads, mean_shapes.n_pairs,
    verdict_shape(mean_shapes.mean) as verdict
from mean_shapes
left join chance_cosines() as chance on mean_shapes.model_id = chance.model_id;
