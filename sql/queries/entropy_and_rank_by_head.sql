--| title = "Attention entropy against effective rank, head by head"
--| theme = "What predicts entropy"
--| reading = "Each point is one head. To the right its metric uses more of its head_dim directions alike; higher up it spreads its attention over more of the tokens that it may see. Dark is the first layer, light the last."
--| [chart]
--| mark = {type = "point", filled = true, size = 36, opacity = 0.85}
--| x = {shorthand = "rank_fraction:Q", axis = {format = "%"}}
--| x_title = "effective rank, share of head_dim"
--| y = {shorthand = "entropy_fraction:Q", axis = {format = "%"}}
--| y_title = "attention entropy, share of ln(keys in sight)"
--| color = "depth_fraction:Q"
--| color_title = "depth"
--| facet = "model_id:N"
--| shape = "prompt_set:N"
--| [parameters]
--| model = {}
with

ranks as (
    select
        head_descriptors.model_id,
        head_descriptors.layer,
        head_descriptors.head,
        head_descriptors.effective_rank,
        -- a head has no more singular values than these
        least(coalesce(layers.head_dim, models.head_dim), models.hidden_size) as n_directions,
        head_descriptors.layer / nullif(models.n_layers - 1, 0) as depth_fraction
    from head_descriptors
    inner join models on head_descriptors.model_id = models.model_id
    left join layers
        on models.model_key = layers.model_key
        and head_descriptors.layer = layers.layer
    where
        head_descriptors.operator = 'metric'
        and ($model is null or head_descriptors.model_id = $model)
)

select
    ranks.model_id,
    head_attention.prompt_set,
    ranks.layer,
    ranks.head,
    ranks.effective_rank,
    ranks.effective_rank / ranks.n_directions as rank_fraction,
    head_attention.entropy_nats,
    head_attention.entropy_fraction,
    ranks.depth_fraction
from ranks
inner join head_attention
    on ranks.model_id = head_attention.model_id
    and ranks.layer = head_attention.layer
    and ranks.head = head_attention.head
order by ranks.model_id, head_attention.prompt_set, ranks.layer, ranks.head
