--| question = "How fast does a head's overlap with itself decay with the distance between layers?"
--| grain = ["model_id", "head", "side", "distance"]
--| kept = true
--| [keys]
--| distance = "measured layers from one of the pair to the other, 1 and up"
--| [columns]
--| mean = "mean overlap over the pairs layer < other_layer at that distance, 0 to 1; null without one"
--| std = "population std over those pairs; null where mean is"
--| chance = "subspace_size / hidden_size, what random subspaces have; null where hidden_size is unknown"
--| n_pairs = "pairs in the mean; those with a zero head are left out"
create or replace view overlap_by_distance as
select
    model_id, head, side, distance,
    avg(overlap) as mean,
    stddev_pop(overlap) as std,
    any_value(chance) as chance,
    count(overlap) as n_pairs
from with_distance('subspace_overlaps')
where layer < other_layer
group by model_id, head, side, distance;
