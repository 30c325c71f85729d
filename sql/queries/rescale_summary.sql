--| title = "Is every layer a rescaled copy of one?"
--| theme = "Rescaled copies"
--| reading = """
--| Each point is the mean over layers and heads of the residual to one anchor layer, the anchor itself included: left \
--| of 0.1 the verdict is supported, of 0.3 partially supported, else rejected. chance_residual, a column, is what \
--| random heads of the same shape have: a residual above it is less alike than chance, whatever the verdict. The \
--| table has the correlations of temperature and op_norm with entropy too."""
--| [chart]
--| crowd = {some = "cells", many = "distribution"}
--| mark = {type = "point", filled = true, size = 70}
--| x = {shorthand = "mean_residual:Q", scale = {zero = true}}
--| y = {shorthand = "anchor:N", sort = ["last", "middle", "best", "best_early", "best_mid", "best_late"]}
--| color = "model_id:N"
--| facet = "operator:N"
--| rules = [{x = 0.1, label = "0.1"}, {x = 0.3, label = "0.3"}]
--| [parameters]
--| model = {}
with

summaries as (
    select *
    from rescale_summary
    where is_chosen(model_id, $model)
)

select
    summaries.*,
    if(summaries.operator = 'head_product', null, chance.null_residual) as chance_residual
from summaries
left join chance_cosines($model) as chance on summaries.model_id = chance.model_id
order by
    summaries.model_id, summaries.operator, summaries.prompt_set,
    list_position(['last', 'middle', 'best', 'best_early', 'best_mid', 'best_late'], summaries.anchor)
