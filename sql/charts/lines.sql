--| about = "A model's rows place one place and of one split as one: their mean, and their middle half"
create or replace temp table lines as
select
    model, grp, grp_order, panel_row, panel_column, shade, dash, place,
    avg(value) as value,
    quantile_cont(value, 0.25) as low,
    quantile_cont(value, 0.75) as high,
    avg(chance) as chance,
    count(*) as n_rows
from seen
group by model, grp, grp_order, panel_row, panel_column, shade, dash, place
