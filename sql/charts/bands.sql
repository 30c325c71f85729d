--| about = """
--| At every place the median and the middle half of each group's models, beside them the lines of the outermost in \
--| each panel, which lie highest and lowest on average; $dash is the measured one of the dashes"""
with

quantiles as (
    select
        grp, grp_order, panel_row, panel_column, shade, dash, place,
        median(value) as value,
        if(dash is not distinct from $dash, quantile_cont(value, 0.25), null) as low,
        if(dash is not distinct from $dash, quantile_cont(value, 0.75), null) as high,
        median(chance) as chance,
        count(*) as n_models
    from lines
    group by grp, grp_order, panel_row, panel_column, shade, dash, place
),

means as (
    select
        model, grp, panel_row, panel_column, shade, dash, if($in_panels, grp, null) as panel_grp,
        avg(value) as mean,
        arg_max(place, value) as peak,
        arg_min(place, value) as trough
    from lines
    where dash is not distinct from $dash
    group by model, grp, panel_row, panel_column, shade, dash
),

outermost as (
    select
        *,
        row_number() over (partition by panel_row, panel_column, panel_grp order by mean desc, model) = 1 as is_highest,
        row_number() over (partition by panel_row, panel_column, panel_grp order by mean, model) = 1 as is_lowest
    from means
    qualify is_highest or is_lowest
),

marked as (
    select
        lines.grp, lines.panel_row, lines.panel_column, lines.shade, lines.dash, lines.place,
        max(lines.value) filter (outermost.is_highest) as highest,
        max(lines.value) filter (outermost.is_lowest) as lowest,
        max(lines.model) filter (outermost.is_highest and lines.place = outermost.peak) as highest_model,
        max(lines.model) filter (
            outermost.is_lowest and not outermost.is_highest and lines.place = outermost.trough
        ) as lowest_model
    from lines
    inner join outermost
        on lines.model = outermost.model
        and lines.panel_row is not distinct from outermost.panel_row
        and lines.panel_column is not distinct from outermost.panel_column
        and lines.shade is not distinct from outermost.shade
        and lines.dash is not distinct from outermost.dash
    group by lines.grp, lines.panel_row, lines.panel_column, lines.shade, lines.dash, lines.place
)

select quantiles.*, marked.highest, marked.lowest, marked.highest_model, marked.lowest_model
from quantiles
left join marked
    on quantiles.grp = marked.grp
    and quantiles.panel_row is not distinct from marked.panel_row
    and quantiles.panel_column is not distinct from marked.panel_column
    and quantiles.shade is not distinct from marked.shade
    and quantiles.dash is not distinct from marked.dash
    and quantiles.place is not distinct from marked.place
order by quantiles.grp_order, quantiles.place
