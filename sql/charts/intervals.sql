--| about = "A row a model: its mean, the middle half of its rows, chance"
select
    model, grp, grp_order, concat_ws(' · ', panel_row, panel_column, if($is_word, shade, null), dash) as panel,
    if($is_word, place::varchar, shade) as shade,
    avg(value) as value,
    quantile_cont(value, 0.25) as low,
    quantile_cont(value, 0.75) as high,
    avg(chance) as chance,
    count(*) as n_rows
from seen
group by model, grp, grp_order, panel_row, panel_column, seen.shade, dash, if($is_word, place::varchar, seen.shade)
order by grp_order, model, panel
