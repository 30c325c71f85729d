--| title = "Attention entropy, by layer"
--| theme = "Attention"
--| reading = """
--| Each point is the mean over the heads of one layer: low where heads look at few tokens. mean_sink_weight says how \
--| much of that is the first token."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = true}
--| x = "layer:O"
--| y = "mean_entropy_nats:Q"
--| color = "model_id:N"
--| column = "prompt_set:N"
--| [parameters]
--| model = {}
select
    model_id, prompt_set, layer,
    avg(entropy_nats) as mean_entropy_nats,
    avg(entropy_fraction) as mean_entropy_fraction,
    avg(sink_weight) as mean_sink_weight,
    count(entropy_nats) as n_heads
from head_attention
where is_chosen(model_id, $model)
group by model_id, prompt_set, layer
order by model_id, prompt_set, layer
