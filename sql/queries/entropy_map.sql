--| title = "How widely does each head attend?"
--| theme = "Attention"
--| reading = """
--| Each cell is one head: its attention entropy as a share of what it would be if the head spread its attention \
--| evenly over all tokens that it may see. Dark heads look at few tokens; 100% is attention that chooses nothing."""
--| [chart]
--| crowd = {some = "ask", many = "ask"}
--| mark = "rect"
--| x = "layer:O"
--| y = "head:O"
--| color = {shorthand = "entropy_fraction:Q", scale = {domain = [0, 1]}, legend = {format = "%"}}
--| color_title = "share of ln(keys in sight)"
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x", "y"]
--| tooltip = ["model_id", "prompt_set", "layer", "head", "entropy_fraction", "n_queries"]
--| [parameters]
--| model = {}
select model_id, prompt_set, layer, head, entropy_fraction, n_queries, set_panel(model_id, prompt_set) as panel
from head_attention
where is_chosen(model_id, $model)
order by model_id, prompt_set, layer, head
