--| title = "Do spectra agree where operators do not?"
--| theme = "Same operator"
--| reading = """
--| Each point is the mean over heads and pairs of layers that far apart. Blue is the cosine of the two spectra, \
--| orange that of the two operators: far above orange, layers share how strong their directions are but not the \
--| directions. Dashed is chance: near 1 for spectra, 0 for operators."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = "line"
--| x = "distance:O"
--| x_title = "layers apart"
--| y = "cosine:Q"
--| y_title = "mean cosine"
--| color = {shorthand = "object:N", title = " "}
--| strokeDash = {shorthand = "series:N", scale = {domain = ["measured", "chance"], range = [[1, 0], [4, 3]]}}
--| strokeDash_title = " "
--| facet = "panel:N"
--| facet_title = "model"
--| independent = ["x"]
--| [parameters]
--| model = {}
--| operator = {default = "metric"}
with

distances as (
    select
        model_id, operator, distance,
        avg(mean_shape_cosine) as spectra,
        avg(mean_operator_cosine) as operators,
        count(mean_operator_cosine) as n_pairs
    from spectrum_against_operator
    where layer < other_layer and operator = $operator and is_chosen(model_id, $model)
    group by model_id, operator, distance
)

select
    distances.model_id, distances.operator,
    unnest(['spectra', 'operators', 'spectra', 'operators']) as object,
    unnest(['measured', 'measured', 'chance', 'chance']) as series,
    distances.model_id || ', ' || distances.operator as panel,
    distances.distance,
    unnest([distances.spectra, distances.operators, chance.null_mean, 0]) as cosine,
    distances.n_pairs
from distances
-- shape_stability says the same, but reads the spectra once more, and then those of all models
left join chance_cosines($model) as chance on distances.model_id = chance.model_id
order by distances.model_id, distances.operator, series desc, object desc, distances.distance
