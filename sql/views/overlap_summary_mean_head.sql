--| question = "Does the mean head's subspace change in phases over depth, or repeat throughout?"
--| grain = ["model_id", "side"]
--| [columns]
--| "*" = "views/overlap_summary"
create or replace view overlap_summary_mean_head as
select
    model_id, side,
    unnest(overlap_phases(mean, distance, n_measured)),
    any_value(chance) as chance,
    count(mean) as n_pairs
from with_distance('overlaps_by_layer')
where layer < other_layer
group by model_id, side;
