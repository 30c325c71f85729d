--| question = "Which layer does a correlation of descriptor and attention hang on?"
--| grain = ["model_id", "operator", "prompt_set", "stratum", "descriptor", "target", "layer"]
--| [keys]
--| prompt_set = "prompt set, as name@first 8 of its hash; null for a model without attention rows"
--| stratum = "all, or the third of the measured layers: early, mid, late; a third without a layer has no row"
--| descriptor = "the column of head_descriptors"
--| target = "the column of head_attention: entropy_nats, logit_std or entropy_without_sink_nats"
--| layer = "the layer that is left out, counted from 0"
--| [columns]
--| n = "heads of the stratum that have both numbers"
--| n_in_layer = "those of them in the layer"
--| pearson_r = """
--| Pearson r over the n heads, -1 to 1, the same for every layer; null where one of the two is constant or n < 2"""
--| pearson_without = """
--| Pearson r over the heads of the other layers; null as pearson_r, or where their spread is below a millionth of \
--| all"""
create or replace view correlations_without_layer as
with

pairs as (
    select
        model_id, operator, prompt_set, layer, unnest(['all', stratum]) as stratum, descriptor,
        descriptor_value as x, target, y
    from (from by_descriptor('head_predictors'))
        unpivot include nulls (y for target in (entropy_nats, logit_std, entropy_without_sink_nats))
),

-- sums of squares about the layer's own means, over the heads that have both numbers
layers_apart as (
    select
        model_id, operator, prompt_set, stratum, descriptor, target, layer,
        regr_count(y, x)::double as n,
        coalesce(regr_avgx(y, x), 0) as mean_x, coalesce(regr_avgy(y, x), 0) as mean_y,
        coalesce(regr_sxx(y, x), 0) as xx, coalesce(regr_syy(y, x), 0) as yy,
        coalesce(regr_sxy(y, x), 0) as xy
    from pairs
    group by model_id, operator, prompt_set, stratum, descriptor, target, layer
),

deviations as (
    select
        * replace (
            mean_x - sum(n * mean_x) over whole / nullif(sum(n) over whole, 0) as mean_x,
            mean_y - sum(n * mean_y) over whole / nullif(sum(n) over whole, 0) as mean_y
        ),
        -- a spread of 1e-12 of the numbers themselves is rounding: they are constant
        1e-24 * sum(n * mean_x * mean_x) over whole as least_xx,
        1e-24 * sum(n * mean_y * mean_y) over whole as least_yy
    from layers_apart
    window whole as (partition by model_id, operator, prompt_set, stratum, descriptor, target)
),

layers_together as (
    select
        *,
        sum(n) over whole as all_n, sum(xx + n * mean_x * mean_x) over whole as all_xx,
        sum(yy + n * mean_y * mean_y) over whole as all_yy,
        sum(xy + n * mean_x * mean_y) over whole as all_xy,
        -- what the layer adds to those three by itself, and by being apart from the others
        n * all_n / nullif(all_n - n, 0) as weight,
        all_xx - xx - weight * mean_x * mean_x as other_xx,
        all_yy - yy - weight * mean_y * mean_y as other_yy,
        all_xy - xy - weight * mean_x * mean_y as other_xy
    from deviations
    window whole as (partition by model_id, operator, prompt_set, stratum, descriptor, target)
)

select
    model_id, operator, prompt_set, stratum, descriptor, target, layer,
    all_n::bigint as n,
    n::bigint as n_in_layer,
    if(all_xx > least_xx and all_yy > least_yy, cosine_of(all_xy, all_xx, all_yy), null) as pearson_r,
    if(
        pearson_r is not null and other_xx > 1e-12 * all_xx and other_yy > 1e-12 * all_yy,
        cosine_of(other_xy, other_xx, other_yy), null
    ) as pearson_without
from layers_together;
