--| question = "How fast does a head's overlap with itself decay with the distance between layers?"
--| grain = ["model_id", "head", "side", "distance"]
--| [keys]
--| distance = "measured layers from one of the pair to the other, 1 and up"
--| [columns]
--| mean = "mean overlap over the pairs layer < other_layer at that distance, 0 to 1; null without one"
--| std = "population std over those pairs; null where mean is"
--| chance = "subspace_size / hidden_size, what random subspaces have; null where hidden_size is unknown"
--| n_pairs = "pairs in the mean; those with a zero head are left out"
create or replace view overlap_by_distance as
with

pairs as (
    select
        subspace_overlaps.model_id, subspace_overlaps.head, subspace_overlaps.side, subspace_overlaps.overlap,
        subspace_overlaps.chance,
        there.position - here.position as distance
    from subspace_overlaps
    inner join measured_layers as here
        on subspace_overlaps.model_id = here.model_id
        and subspace_overlaps.layer = here.layer
    inner join measured_layers as there
        on subspace_overlaps.model_id = there.model_id
        and subspace_overlaps.other_layer = there.layer
    where subspace_overlaps.layer < subspace_overlaps.other_layer
)

select
    model_id, head, side, distance,
    avg(overlap) as mean,
    stddev_pop(overlap) as std,
    any_value(chance) as chance,
    count(overlap) as n_pairs
from pairs
group by model_id, head, side, distance;
