--| about = "The lines place $n_places places of every model's own span, 0 to 1: what its nearest layer has"
create or replace temp table lines as
with

places as (
    select spans.model, range / ($n_places - 1) as place, round(range * spans.span / ($n_places - 1))::integer as layer
    from spans
    cross join range($n_places)
)

select lines.* replace (places.place as place)
from lines
inner join places on lines.model = places.model and lines.place = places.layer
