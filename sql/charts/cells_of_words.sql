--| about = "A row a model below a row of its group's name, and a cell for each word"
with

marks as (
    select model, grp, grp_order, concat_ws(' · ', panel_row, panel_column, shade, dash) as panel, place, value
    from lines
),

heads as (
    select format('▾ {} ({})', grp, count(distinct model)) as model_row, grp, grp_order
    from marks
    group by grp, grp_order
)

select model as model_row, *
from marks
union all by name
from heads
order by grp_order, model nulls first, panel
