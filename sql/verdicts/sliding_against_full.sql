--| about = "mean entropy of the layers of each kind, with their spread and number"
with

kinds as (
    select
        model_id, prompt_set, attention_kind,
        avg(mean_entropy_fraction) as mean_fraction,
        stddev_pop(mean_entropy_fraction) as std_fraction,
        count(*) as n_layers
    from answer
    where mean_entropy_fraction is not null and attention_kind is not null
    group by model_id, prompt_set, attention_kind
),

sentences as (
    select
        model_id, prompt_set,
        'Attention entropy is '
        || string_agg(
            format(
                '{:.0f} ± {:.0f} % of ln(keys in sight) over the {} {} layers',
                100 * mean_fraction, 100 * std_fraction, n_layers, attention_kind
            ), ', and ' order by attention_kind
        )
        || case when count(*) = 1 then '; there is no other kind to compare.' else ' (mean ± std over layers).' end
        as sentence
    from kinds
    group by model_id, prompt_set
)

-- one sentence a model, of the first prompt set
select model_id, arg_min(sentence, prompt_set) as sentence
from sentences
group by model_id
order by model_id
