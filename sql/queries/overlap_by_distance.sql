--| title = "How overlap decays with the distance between layers"
--| theme = "Depth"
--| reading = """
--| Each point is the mean over heads of a head's mean overlap with itself at that distance, the band one standard \
--| deviation over heads; the dashed line is what random directions have. A curve that falls to the line forgets; one \
--| that stays above it repeats itself over all depth."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = true}
--| band = ["low", "high"]
--| x = {shorthand = "distance:Q", axis = {tickMinStep = 1, format = "d"}, scale = {nice = false}}
--| x_title = "distance (measured layers)"
--| y = {shorthand = "mean_overlap:Q", scale = {domainMin = 0, clamp = true}}
--| y_title = "overlap (0 to 1)"
--| color = "side:N"
--| facet = "model_id:N"
--| independent = ["x"]
--| rules = [{y = "chance", label = "chance"}]
--| [parameters]
--| model = {}
select
    model_id, side, distance,
    avg(mean) as mean_overlap,
    stddev_pop(mean) as std_over_heads,
    mean_overlap - std_over_heads as low,
    mean_overlap + std_over_heads as high,
    any_value(chance) as chance,
    count(mean) as n_heads,
    sum(n_pairs)::bigint as n_pairs
from overlap_by_distance
where is_chosen(model_id, $model)
group by model_id, side, distance
order by model_id, side, distance
