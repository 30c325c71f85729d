--| question = "Which layers of each model are measured, and where does each stand among them?"
--| grain = ["model_id", "layer"]
--| [columns]
--| position = """
--| place among the measured layers, counted from 0: what last, middle, adjacency, distance and strata count"""
--| n_measured = "measured layers of the model, L in the strata's bounds"
--| stratum = "early, mid or late: positions [0, L//3), [L//3, 2L//3), [2L//3, L)"
create or replace view measured_layers as
with

placed as (
    select
        models.model_id,
        layers.layer,
        row_number() over (partition by models.model_id order by layers.layer) - 1 as position,
        count(*) over (partition by models.model_id) as n_measured
    from layers
    inner join models on layers.model_key = models.model_key
    where layers.is_measured
)

select
    model_id, layer, position, n_measured,
    case
        when position < n_measured // 3 then 'early'
        when position < 2 * n_measured // 3 then 'mid'
        else 'late'
    end as stratum
from placed;
