--| about = "A row a model, and a cell for each word"
select model, grp, grp_order, concat_ws(' · ', panel_row, panel_column, shade, dash) as panel, place, value
from lines
order by grp_order, model, panel
