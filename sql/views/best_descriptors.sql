--| question = "Which single descriptor goes best with a head's attention?"
--| grain = ["model_id", "operator", "prompt_set", "target"]
--| [keys]
--| prompt_set = "prompt set, as name@first 8 of its hash; null for a model without attention rows"
--| target = "the column of head_attention: entropy_nats, logit_std or entropy_without_sink_nats"
--| [columns]
--| descriptor = """
--| the one of ten with the largest |pearson_r| over all layers, the first by name on a tie; null where none has an r"""
--| n = "heads behind pearson_r; 0 without it"
--| n_layers = "layers of those heads; 0 without pearson_r"
--| pearson_r = """
--| Pearson r over the heads, -1 to 1; the best of ten, so larger than 0 in size by chance too: entropy_predictors has \
--| its p"""
--| pearson_low = """
--| lower end of a 95 % interval by jackknife over layers, which knows nothing of the choice among ten; null as in \
--| descriptor_correlations"""
--| pearson_high = "upper end of that interval"
create or replace view best_descriptors as
with

correlations as (
    select
        *,
        row_number() over (
            partition by model_id, operator, prompt_set, target
            -- two descriptors that differ by rounding alone are tied
            order by round(abs(pearson_r), 12) desc nulls last, descriptor
        ) as place
    from descriptor_correlations
    where stratum = 'all'
)

select
    model_id, operator, prompt_set, target,
    if(pearson_r is null, null, descriptor) as descriptor,
    if(pearson_r is null, 0, n) as n,
    if(pearson_r is null, 0, n_layers) as n_layers,
    pearson_r, pearson_low, pearson_high
from correlations
where place = 1;
