--| title = "How far do the attention logits of each head spread?"
--| theme = "Attention"
--| reading = """
--| Each cell is one head: the standard deviation of the logits that enter a query's softmax, on a logarithmic scale. \
--| Near 0 attention is even; among 100 keys, normally distributed logits with a std of 1 give the largest 8% of the \
--| weight, with 2 a quarter, with 4 more than half."""
--| [chart]
--| crowd = {some = "ask", many = "ask"}
--| mark = "rect"
--| x = "layer:O"
--| y = "head:O"
--| color = {shorthand = "logit_std:Q", scale = {type = "log"}}
--| color_title = "logit std (logarithmic)"
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x", "y"]
--| tooltip = ["model_id", "prompt_set", "layer", "head", "logit_std", "n_queries"]
--| [parameters]
--| model = {}
select model_id, prompt_set, layer, head, logit_std, n_queries, set_panel(model_id, prompt_set) as panel
from head_attention
where is_chosen(model_id, $model)
order by model_id, prompt_set, layer, head
