--| title = "Are neighbouring layers more alike than distant ones?"
--| theme = "Depth"
--| reading = """
--| Each point is a head: its mean overlap with neighbouring layers minus that with layers more than a third of the \
--| depth away. Random directions have the same overlap, chance, at any distance, so 0; above 0.05 the verdict is \
--| phase structure. Below it a head with mean overlap over 0.7 is redundant, any other moderate."""
--| [chart]
--| crowd = {some = "intervals", many = "distribution"}
--| mark = {type = "point", filled = true, size = 50, opacity = 0.85}
--| x = {shorthand = "head:Q", axis = {tickMinStep = 1, format = "d"}, scale = {nice = false}}
--| x_title = "head"
--| y = "gap:Q"
--| y_title = "gap (adjacent mean - distant mean)"
--| color = "side:N"
--| facet = "model_id:N"
--| independent = ["x"]
--| rules = [{y = 0, label = "chance"}, {y = 0.05, label = "phase structure above"}]
--| [parameters]
--| model = {}
select
    model_id, head, side, verdict, gap, adjacent_mean, distant_mean, off_diagonal_mean, off_diagonal_std,
    chance, n_pairs
from overlap_summary
where is_chosen(model_id, $model)
order by model_id, side, head
