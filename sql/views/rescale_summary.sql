--| question = "Is every layer a rescaled copy of one, and does its scale predict entropy?"
--| grain = ["model_id", "operator", "prompt_set", "anchor"]
--| kept = true
--| [keys]
--| prompt_set = "prompt set of the correlations; null for a model without attention rows"
--| anchor = "which layer the others are fitted to: a name of view anchors"
--| [columns]
--| anchor_layer = "the anchor's layer; itself included in the means, where its residual is 0"
--| mean_residual = "mean residual over layers and heads, 0 (rescaled copies) to 1; null where all are null"
--| max_residual = "largest residual, 0 to 1; null where all are null"
--| fraction_below_010 = "share of the residuals below 0.1; null where all are null"
--| fraction_below_020 = "share of the residuals below 0.2; null where all are null"
--| corr_temperature_entropy = """
--| Pearson r of temperature and entropy_nats over layers and heads, -1 to 1; null where one is constant or missing"""
--| corr_op_norm_entropy = """
--| Pearson r of op_norm and entropy_nats over layers and heads, -1 to 1; null where one is constant or missing"""
--| n = "heads (layer, head) with a temperature and an entropy; 0 without attention rows"
--| n_fits = "heads (layer, head) with a residual"
--| verdict = "verdict_rescale of mean_residual: supported, partially supported or rejected; null without residuals"
create or replace view rescale_summary as
with

-- unions and lists: a join of views would keep `where model_id in (…)` from one of the two
spectra as (
    select model_id, operator, layer, head, anchor_fits as fit, null as op_norm
    from anchor_fits
    union all
    select model_id, operator, layer, head, null, op_norm
    from head_descriptors
),

heads as (
    select model_id, operator, layer, head, list(fit) as fits, max(op_norm) as op_norm, null as attention
    from spectra
    group by model_id, operator, layer, head
    union all
    select model_id, null, layer, head, null, null, {'prompt_set': prompt_set, 'entropy_nats': entropy_nats}
    from head_attention
),

fitted_heads as (
    select
        model_id, list(attention) filter (attention is not null) as attentions,
        unnest(list({'operator': operator, 'op_norm': op_norm, 'fits': fits}) filter (operator is not null)) as spectrum
    from heads
    group by model_id, layer, head
),

fits as (
    select model_id, attentions, spectrum.op_norm, unnest(spectrum.fits) as fit
    from fitted_heads
),

-- over all heads, whether or not they have attention rows; a model without any keeps its row
residuals as (
    select
        model_id, fit.operator, fit.anchor, fit.anchor_layer,
        avg(fit.residual) as mean_residual, max(fit.residual) as max_residual, count(fit.residual) as n_fits,
        avg((fit.residual < 0.1)::integer) as fraction_below_010,
        avg((fit.residual < 0.2)::integer) as fraction_below_020,
        unnest(coalesce(flatten(list(list_transform(
            attentions, lambda attention: {'attention': attention, 'temperature': fit.temperature, 'op_norm': op_norm}
        )) filter (attentions is not null)), [null]), recursive := true)
    from fits
    where fit is not null
    group by model_id, fit.operator, fit.anchor, fit.anchor_layer
)

select
    model_id, operator, prompt_set, anchor, anchor_layer,
    any_value(mean_residual) as mean_residual, any_value(max_residual) as max_residual,
    any_value(fraction_below_010) as fraction_below_010, any_value(fraction_below_020) as fraction_below_020,
    pearson_r(temperature, entropy_nats) as corr_temperature_entropy,
    pearson_r(op_norm, entropy_nats) as corr_op_norm_entropy,
    count(temperature + entropy_nats) as n, any_value(n_fits) as n_fits,
    verdict_rescale(any_value(mean_residual)) as verdict
from residuals
group by model_id, operator, prompt_set, anchor, anchor_layer;
