--| about = """
--| A row a model; a cell is as wide as its share of the model's layers, of which \
--| neighbours are together where there are more than $n_cells"""
with

cells as (
    select
        lines.*,
        spans.span,
        least(spans.span + 1, $n_cells) as n_cells,
        (least(lines.place, spans.span) * least(spans.span + 1, $n_cells) // (spans.span + 1))::integer as cell
    from lines
    inner join spans on lines.model = spans.model
)

select
    model, grp, grp_order, concat_ws(' · ', panel_row, panel_column, shade, dash) as panel,
    -- of the whole, or in layers, of which each is as wide as 1 about its number
    if($is_share, cell / n_cells, cell * (span + 1) / n_cells - 0.5) as from_place,
    if($is_share, (cell + 1) / n_cells, (cell + 1) * (span + 1) / n_cells - 0.5) as to_place,
    concat_ws(' to ', min(place)::integer, nullif(max(place), min(place))::integer) as layers,
    avg(value) as value
from cells
group by model, grp, grp_order, panel_row, panel_column, shade, dash, cell, n_cells, span
order by grp_order, model, panel, from_place
