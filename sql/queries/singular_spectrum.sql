--| title = "How fast the singular values of the attention operators fall"
--| theme = "Spectra"
--| reading = """
--| Each point is the median over a model's heads of the k-th singular value as a share of the head's largest: flat \
--| where heads use all their directions alike, steep where they use few. Dashed is chance: what heads of random \
--| factors of the same shape would have, whose spectra fall too."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = "line"
--| x = "k:Q"
--| x_title = "rank k within the head, from 0 to head_dim - 1"
--| y = {shorthand = "median_relative_sigma:Q", scale = {type = "log"}}
--| y_title = "median σ_k / σ_0 (logarithmic)"
--| color = "model_id:N"
--| strokeDash = "series:N"
--| facet = "operator:N"
--| [parameters]
--| model = {}
with

series as (
    select model_id, operator, 'measured' as series, k, median_relative_sigma, n_heads
    from relative_spectra
    union all
    select model_id, operator, 'chance', k, median_relative_sigma, n_heads
    from relative_null_spectra
)

select model_id, operator, series, k, median_relative_sigma, n_heads
from series
where is_chosen(model_id, $model)
order by model_id, operator, series desc, k
