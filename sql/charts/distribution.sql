--| about = """
--| Of each group's models the median, the middle half and nine tenths, place each word where there are words; beside \
--| them the outermost of each row of a panel"""
with

models_seen as (
    select
        model, grp, grp_order, concat_ws(' · ', panel_row, panel_column, shade, dash) as panel,
        if($is_word, place::varchar, grp) as row_name,
        avg(value) as value,
        avg(chance) as chance
    from seen
    group by model, grp, grp_order, panel, row_name
),

quantiles as (
    select
        grp, grp_order, panel, row_name,
        median(value) as value,
        quantile_cont(value, 0.05) as least,
        quantile_cont(value, 0.25) as low,
        quantile_cont(value, 0.75) as high,
        quantile_cont(value, 0.95) as most,
        median(chance) as chance,
        count(*) as n_models
    from models_seen
    group by grp, grp_order, panel, row_name
),

ranked as (
    select
        *,
        row_number() over (partition by panel, row_name order by value desc, model) = 1 as is_highest,
        row_number() over (partition by panel, row_name order by value, model) = 1 as is_lowest
    from models_seen
),

outermost as (
    select
        grp, panel, row_name,
        max(value) filter (is_highest) as highest,
        max(value) filter (is_lowest) as lowest,
        max(model) filter (is_highest) as highest_model,
        max(model) filter (is_lowest and not is_highest) as lowest_model
    from ranked
    where is_highest or is_lowest
    group by grp, panel, row_name
)

select quantiles.*, outermost.highest, outermost.lowest, outermost.highest_model, outermost.lowest_model
from quantiles
left join outermost
    on quantiles.grp = outermost.grp
    and quantiles.panel = outermost.panel
    and quantiles.row_name = outermost.row_name
order by quantiles.grp_order, quantiles.panel, quantiles.row_name
