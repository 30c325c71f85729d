--| title = "How many of its directions each weight matrix uses, by layer"
--| theme = "FFN and weights"
--| reading = """
--| Each point is the effective rank of a whole weight matrix as a share of its smaller side, the mean over experts \
--| where there are some: 1 where all singular values are equal. By chance, with Gaussian entries, it is 80 % for a \
--| square matrix, 90 % at 8:5 and 95 % at 3:1."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = {size = 20}}
--| x = {shorthand = "layer:Q", axis = {tickMinStep = 1, format = "d"}, scale = {nice = false}}
--| x_title = "layer"
--| y = {shorthand = "rank_fraction:Q", axis = {format = "%"}, scale = {zero = false}}
--| y_title = "effective rank, share of the smaller side"
--| color = "weight:N"
--| facet = "model_id:N"
--| independent = ["x"]
--| [parameters]
--| model = {}
select
    model_id, weight, layer,
    avg(effective_rank) as effective_rank,
    avg(rank_fraction) as rank_fraction,
    avg(stable_rank) as stable_rank,
    any_value(n_rows) as n_rows,
    any_value(n_cols) as n_cols,
    count(rank_fraction) as n_matrices
from weight_effective_ranks
where is_chosen(model_id, $model)
group by model_id, weight, layer
order by model_id, list_position(['q', 'k', 'v', 'o', 'gate', 'up', 'down'], weight), layer
