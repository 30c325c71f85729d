--| about = "mean entropy of the layers of each kind, with their spread and number"
with

layer_means as (
    select
        head_attention.model_id, head_attention.prompt_set, head_attention.layer,
        avg(head_attention.entropy_fraction) as entropy_fraction
    from head_attention
    where $model is null or head_attention.model_id = $model
    group by head_attention.model_id, head_attention.prompt_set, head_attention.layer
),

kinds as (
    select
        layer_means.model_id, layer_means.prompt_set, layers.attention_kind,
        avg(layer_means.entropy_fraction) as mean_fraction,
        stddev_pop(layer_means.entropy_fraction) as std_fraction,
        count(layer_means.entropy_fraction) as n_layers
    from layer_means
    inner join models on layer_means.model_id = models.model_id
    inner join layers
        on models.model_key = layers.model_key
        and layer_means.layer = layers.layer
    where layers.attention_kind is not null
    group by layer_means.model_id, layer_means.prompt_set, layers.attention_kind
    having count(layer_means.entropy_fraction) > 0
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
