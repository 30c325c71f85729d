--| about = """
--| A point a model, the medians of its rows; of those that lie outermost in a panel the names, but for one that \
--| would lie over another"""
with

points as (
    select
        model, grp, grp_order, panel_row, panel_column, dash,
        median(place) as place,
        median(value) as value,
        median(chance) as chance,
        count(*) as n_rows
    from seen
    where place is not null
    group by model, grp, grp_order, panel_row, panel_column, dash
),

placed as (
    select
        *,
        (place - min(place) over panel) / nullif(max(place) over panel - min(place) over panel, 0) as across,
        (value - min(value) over panel) / nullif(max(value) over panel - min(value) over panel, 0) as up,
        least(
            row_number() over (panel order by place, model, dash),
            row_number() over (panel order by place desc, model, dash),
            row_number() over (panel order by value, model, dash),
            row_number() over (panel order by value desc, model, dash)
        ) = 1 as is_outermost
    from points
    window panel as (partition by panel_row, panel_column)
),

named as (
    select *
    from placed
    where
        is_outermost
        and not exists (
            from placed as other
            where
                other.is_outermost
                and other.panel_row is not distinct from placed.panel_row
                and other.panel_column is not distinct from placed.panel_column
                and abs(other.up - placed.up) < 0.08
                and (abs(other.up - 0.5), other.model, other.dash) > (abs(placed.up - 0.5), placed.model, placed.dash)
        )
)

select
    points.*,
    if(named.across <= 0.5, points.model, null) as left_name,
    if(named.across > 0.5, points.model, null) as right_name,
    named.up > 0.5 as is_upper
from points
left join named
    on points.model = named.model
    and points.panel_row is not distinct from named.panel_row
    and points.panel_column is not distinct from named.panel_column
    and points.dash is not distinct from named.dash
order by points.grp_order, points.model, points.dash
