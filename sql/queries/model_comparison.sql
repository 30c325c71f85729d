--| title = "The models side by side"
--| reading = """
--| Shape is layers × heads × head_dim. The predictor is the spectral descriptor with the largest |Pearson r| with \
--| attention entropy, best of ten, with its 95 % interval. Rescaled: mean residual of every layer's spectrum to the \
--| best anchor's (0 is a copy); Gaussian spectra are near-copies too. Same operator: mean cosine of the other layers' \
--| operators to the same anchor's (0 by chance). Overlap: key-side subspaces of adjacent and of distant layers, \
--| beside chance."""
--| theme = "What is there"
--| [parameters]
--| model = {}
with

ranks as (
    select model_id, median(effective_rank) as median_effective_rank
    from head_descriptors
    where operator = 'metric' and is_chosen(model_id, $model)
    group by model_id
),

predictors as (
    select model_id, prompt_set, descriptor, pearson_r, pearson_low, pearson_high
    from best_descriptors
    where operator = 'metric' and target = 'entropy_nats' and is_chosen(model_id, $model)
    qualify is_largest_set(model_id, prompt_set, n)
),

copies as (
    select distinct model_id, anchor_layer, mean_residual, verdict
    from rescale_summary
    where operator = 'metric' and anchor = 'best' and is_chosen(model_id, $model)
)

select
    models.model_id,
    concat_ws(' × ', models.n_layers, models.n_heads, coalesce(models.head_dim::varchar, '?')) as shape,
    models.hidden_size,
    ranks.median_effective_rank,
    predictors.descriptor as best_predictor,
    predictors.pearson_r,
    predictors.pearson_low,
    predictors.pearson_high,
    copies.anchor_layer,
    copies.verdict as rescaled,
    copies.mean_residual,
    operator_verdicts.verdict_others as same_operator,
    operator_verdicts.mean_cosine_to_others,
    overlap_summary_mean_head.adjacent_mean as adjacent_overlap,
    overlap_summary_mean_head.distant_mean as distant_overlap,
    overlap_summary_mean_head.chance as chance_overlap
from models
left join ranks on models.model_id = ranks.model_id
left join predictors on models.model_id = predictors.model_id
left join copies on models.model_id = copies.model_id
left join operator_verdicts
    on models.model_id = operator_verdicts.model_id
    and operator_verdicts.operator = 'metric'
    and is_chosen(operator_verdicts.model_id, $model)
    and copies.anchor_layer = operator_verdicts.anchor_layer
left join overlap_summary_mean_head
    on models.model_id = overlap_summary_mean_head.model_id
    and overlap_summary_mean_head.side = 'key'
    and is_chosen(overlap_summary_mean_head.model_id, $model)
where is_chosen(models.model_id, $model)
order by models.name, models.revision_order, models.model_id
