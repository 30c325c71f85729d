--| about = """
--| The lines at $n_places places of every model's own span, 0 to 1: what the nearest layer has that a model has a \
--| value of, the very one or one beside it"""
create or replace temp table lines as
with

places as (
    select
        spans.model,
        range / ($n_places - 1) as share,
        range * spans.span / ($n_places - 1) as exact,
        round(exact)::integer + unnest([-1, 0, 1]) as place
    from spans
    cross join range($n_places)
)

select lines.* replace (places.share as place)
from lines
inner join places on lines.model = places.model and lines.place = places.place
qualify row_number() over (
    partition by
        lines.model, lines.panel_row, lines.panel_column, lines.shade, lines.dash, places.share
    order by abs(places.exact - places.place), places.place
) = 1
