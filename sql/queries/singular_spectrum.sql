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

shares as (
    select
        model_id, operator, k,
        -- an all-zero head has no shares: null, which the median skips
        sigma / nullif(max(sigma) over (partition by model_id, operator, layer, head), 0) as relative_sigma
    from spectra($model)
),

null_shares as (
    select
        model_id, operator, k,
        mean_sigma / nullif(max(mean_sigma) over (partition by model_id, operator, layer, head), 0) as relative_sigma
    from null_head_spectra
    where is_chosen(model_id, $model)
),

medians as (
    select
        model_id, operator, 'measured' as series, k,
        median(relative_sigma) as median_relative_sigma,
        count(relative_sigma) as n_heads
    from shares
    group by model_id, operator, k
    union all
    select model_id, operator, 'chance', k, median(relative_sigma), count(relative_sigma)
    from null_shares
    group by model_id, operator, k
)

select model_id, operator, series, k, median_relative_sigma, n_heads
from medians
order by model_id, operator, series desc, k
