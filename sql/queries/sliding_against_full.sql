--| title = "Do layers with a sliding window attend otherwise than full ones?"
--| theme = "Attention"
--| reading = """
--| Each point is the mean over the heads of one layer: how much of ln(keys in sight) its attention entropy is. A \
--| window has fewer keys in sight, which the share allows for; kinds whose points lie over one another attend alike, \
--| and with few layers of a kind a difference says little."""
--| [chart]
--| crowd = {some = "intervals", many = "distribution"}
--| mark = {type = "point", filled = true, size = 60, opacity = 0.8}
--| x = {shorthand = "mean_entropy_fraction:Q", axis = {format = "%"}}
--| x_title = "entropy, share of ln(keys in sight)"
--| y = {shorthand = "kind:N", title = ""}
--| color = "layer:Q"
--| facet = "model_id:N"
--| shape = "prompt_set:N"
--| height = 120
--| [parameters]
--| model = {}
with

kinds as (
    select
        models.model_id,
        layers.layer,
        layers.attention_kind,
        layers.window_size,
        layers.attention_kind || coalesce(' ' || layers.window_size, '') as kind
    from layers
    inner join models on layers.model_key = models.model_key
    where layers.is_measured and is_chosen(models.model_id, $model)
),

ranks as (
    select model_id, layer, median(effective_rank) as median_effective_rank
    from head_descriptors
    where operator = 'metric' and is_chosen(model_id, $model)
    group by model_id, layer
),

attention as (
    select
        model_id, prompt_set, layer,
        avg(entropy_fraction) as mean_entropy_fraction,
        avg(entropy_nats) as mean_entropy_nats,
        avg(sink_weight) as mean_sink_weight,
        avg(logit_std) as mean_logit_std,
        count(entropy_nats) as n_heads
    from head_attention
    where is_chosen(model_id, $model)
    group by model_id, prompt_set, layer
)

select
    attention.model_id, attention.prompt_set, attention.layer, kinds.kind, kinds.attention_kind,
    kinds.window_size,
    attention.mean_entropy_fraction, attention.mean_entropy_nats, attention.mean_sink_weight, attention.mean_logit_std,
    ranks.median_effective_rank, attention.n_heads
from attention
inner join kinds
    on attention.model_id = kinds.model_id
    and attention.layer = kinds.layer
left join ranks
    on attention.model_id = ranks.model_id
    and attention.layer = ranks.layer
order by attention.model_id, attention.prompt_set, kinds.kind, attention.layer
