--| question = "Which descriptor of a head's spectrum goes with its attention entropy, and how surely?"
--| grain = ["model_id", "operator", "prompt_set", "stratum", "descriptor", "target"]
--| kept = true
--| source = "Miller 1974, The jackknife: a review (leave out one group at a time)"
--| [keys]
--| prompt_set = "prompt set, as name@first 8 of its hash; null for a model without attention rows"
--| stratum = "all, or the third of the measured layers: early, mid, late; a third without a layer has no row"
--| descriptor = "the column of head_descriptors"
--| target = "the column of head_attention: entropy_nats, logit_std or entropy_without_sink_nats"
--| [columns]
--| n = "heads with both numbers"
--| n_layers = "layers with such a head: what the interval rests on, since heads of one layer are not independent"
--| pearson_r = "Pearson r over the heads, -1 to 1, 0 by chance; null where one of the two is constant or n < 2"
--| pearson_low = """
--| lower end of a 95 % interval: delete-one-layer jackknife of Fisher's z, t with n_layers - 1 degrees; null as \
--| pearson_r, under 3 layers, and where a layer left out leaves a constant"""
--| pearson_high = "upper end of that interval"
create or replace view descriptor_correlations as
with

-- Fisher's z, in which the estimates with one layer left out spread alike; an r of 1 has no finite z
transformed as (
    select
        *,
        atanh(0.999999999999 * pearson_r) as z,
        atanh(0.999999999999 * pearson_without) as z_without
    from correlations_without_layer
),

spreads as (
    select
        model_id, operator, prompt_set, stratum, descriptor, target,
        any_value(n) as n,
        count(*) filter (n_in_layer > 0) as n_layers,
        any_value(pearson_r) as pearson_r,
        any_value(z) as z,
        if(n_layers >= 3 and count(z_without) filter (n_in_layer > 0) = n_layers, n_layers - 1, null) as freedom,
        sqrt(freedom * var_pop(z_without) filter (n_in_layer > 0)) as error,
        -- the t quantile by Cornish and Fisher's series: 0.8 % low at 3 layers, 0.1 % at 4
        1.959964 + 2.372271 / freedom + 2.822499 / freedom ** 2 + 2.555850 / freedom ** 3 + 1.589534 / freedom ** 4 as t
    from transformed
    group by model_id, operator, prompt_set, stratum, descriptor, target
)

select
    model_id, operator, prompt_set, stratum, descriptor, target, n, n_layers, pearson_r,
    tanh(z - t * error) as pearson_low,
    tanh(z + t * error) as pearson_high
from spreads;
