--| question = "What is measured of a model as a whole?"
--| grain = ["model_id", "quantity"]
--| [keys]
--| quantity = """
--| mean_… of a column of head_descriptors (operator metric) or of head_attention, over the heads of all layers; \
--| mean_rank_fraction is effective_rank / head_dim; the share of heads with rank_fraction under 0.5 (low_rank_share), \
--| with a mean largest weight over 0.5 (focused_share) or a mean weight on the first token over 0.5 (sink_share); \
--| shape_cosine between layers; operator_cosine and overlap (key side) of adjacent layers; log10_parameters for size"""
--| [columns]
--| value = """
--| a number in the column's own unit; of attention for the prompt set with the most heads, the first by name of \
--| several. What isn't measured has no row"""
create or replace view model_quantities as
with

descriptors as (
    select
        models.model_id, head_descriptor_rollup.*,
        head_descriptor_rollup.effective_rank / coalesce(layers.head_dim, models.head_dim) as rank_fraction
    from head_descriptor_rollup
    inner join models on head_descriptor_rollup.model_key = models.model_key
    left join layers
        on head_descriptor_rollup.model_key = layers.model_key
        and head_descriptor_rollup.layer = layers.layer
    where head_descriptor_rollup.operator = 'metric'
),

spectra as (
    select
        model_id,
        unnest([
            {'quantity': 'mean_op_norm', 'value': avg(op_norm)},
            {'quantity': 'mean_fro_norm', 'value': avg(fro_norm)},
            {'quantity': 'mean_effective_modes', 'value': avg(effective_modes)},
            {'quantity': 'mean_effective_rank', 'value': avg(effective_rank)},
            {'quantity': 'mean_rank_fraction', 'value': avg(rank_fraction)},
            {'quantity': 'mean_spectral_entropy_nats', 'value': avg(spectral_entropy_nats)},
            {'quantity': 'mean_anisotropy', 'value': avg(anisotropy)},
            {'quantity': 'mean_stable_rank', 'value': avg(stable_rank)},
            {'quantity': 'mean_participation_ratio', 'value': avg(participation_ratio)},
            {'quantity': 'low_rank_share', 'value': avg((rank_fraction < 0.5)::integer)}
        ], recursive := true)
    from descriptors
    group by model_id
),

attention_sets as (
    select
        model_id, prompt_set,
        [
            {'quantity': 'mean_entropy_nats', 'value': avg(entropy_nats)},
            {'quantity': 'mean_entropy_fraction', 'value': avg(entropy_fraction)},
            {'quantity': 'mean_entropy_without_sink_nats', 'value': avg(entropy_without_sink_nats)},
            {'quantity': 'mean_logit_std', 'value': avg(logit_std)},
            {'quantity': 'mean_top1_weight', 'value': avg(top1_weight)},
            {'quantity': 'mean_sink_weight', 'value': avg(sink_weight)},
            {'quantity': 'focused_share', 'value': avg((top1_weight > 0.5)::integer)},
            {'quantity': 'sink_share', 'value': avg((sink_weight > 0.5)::integer)}
        ] as quantities
    from head_attention
    group by model_id, prompt_set
    qualify is_largest_set(model_id, prompt_set, count(*))
),

quantities as (
    select model_id, quantity, value
    from spectra
    union all
    select model_id, unnest(quantities, recursive := true)
    from attention_sets
    union all
    select model_id, 'shape_cosine', mean
    from shape_stability
    where operator = 'metric'
    union all
    select model_id, 'operator_cosine', max(adjacent_mean)  -- the same beside each anchor
    from operator_verdicts
    where operator = 'metric'
    group by model_id
    union all
    select model_id, 'log10_parameters', log10(n_parameters)
    from models
    union all
    select model_id, 'overlap', adjacent_mean
    from overlap_summary_mean_head
    where side = 'key'
)

select model_id, quantity, value
from quantities
where value is not null;
