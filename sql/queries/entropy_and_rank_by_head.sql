--| title = "Attention entropy against effective rank, head by head"
--| theme = "What predicts entropy"
--| reading = """
--| Each point is one head. To the right its metric uses more of its head_dim directions alike; higher up it spreads \
--| its attention over more of the tokens that it may see. Dark is the first layer, light the last."""
--| [chart]
--| crowd = {some = "scatter", many = "scatter"}
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
select
    model_id, prompt_set, layer, head,
    effective_rank, rank_fraction, entropy_nats, entropy_fraction, depth_fraction
from ranks_and_attention($model)
order by model_id, prompt_set, layer, head
