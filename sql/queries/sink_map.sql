--| title = "How much of its attention does each head leave on the first token?"
--| theme = "Attention"
--| reading = """
--| Each cell is one head: the mean weight on key 0. Attention spread evenly over n tokens would put 1/n there, 1% of \
--| a hundred; a bright head rests on the first token whatever the text says."""
--| [chart]
--| crowd = {some = "ask", many = "ask"}
--| mark = "rect"
--| x = "layer:O"
--| y = "head:O"
--| color = {shorthand = "sink_weight:Q", scale = {domain = [0, 1]}, legend = {format = "%"}}
--| color_title = "weight on key 0"
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x", "y"]
--| tooltip = ["model_id", "prompt_set", "layer", "head", "sink_weight", "n_queries"]
--| [parameters]
--| model = {}
select model_id, prompt_set, layer, head, sink_weight, n_queries, set_panel(model_id, prompt_set) as panel
from head_attention
where is_chosen(model_id, $model)
order by model_id, prompt_set, layer, head
