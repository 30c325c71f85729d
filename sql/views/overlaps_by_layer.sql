--| question = "Which layers read by the same directions, head for head?"
--| grain = ["model_id", "side", "layer", "other_layer"]
--| kept = true
--| [keys]
--| other_layer = "second layer of the pair; every ordered pair is there, layer = other_layer too"
--| [columns]
--| mean = "mean overlap over the heads that both layers have, 0 to 1, and 1 on the diagonal; null without such a head"
--| std = "population std of the overlap over those heads; null where mean is"
--| chance = "subspace_size / hidden_size, what random subspaces have; null where hidden_size is unknown"
--| n_heads = "heads in the mean; zero heads are left out"
create or replace view overlaps_by_layer as
select
    model_id, side, layer, other_layer,
    avg(overlap) as mean,
    stddev_pop(overlap) as std,
    any_value(chance) as chance,
    count(overlap) as n_heads
from subspace_overlaps
group by model_id, side, layer, other_layer;
