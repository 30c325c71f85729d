--| question = "Does a head's subspace change in phases over depth, or repeat throughout?"
--| grain = ["model_id", "head", "side"]
--| kept = true
--| [columns]
--| off_diagonal_mean = "mean overlap over the pairs layer < other_layer, 0 to 1; null without one"
--| off_diagonal_std = "population std over those pairs"
--| off_diagonal_min = "smallest of those"
--| off_diagonal_max = "largest of those"
--| adjacent_mean = "mean overlap over pairs of neighbouring measured layers; null without one"
--| adjacent_std = "population std over those pairs"
--| distant_mean = "mean overlap over pairs more than L//3 measured layers apart; null without one"
--| distant_std = "population std over those pairs"
--| gap = "adjacent_mean - distant_mean, -1 to 1; null where one of them is"
--| verdict = "verdict_overlap of gap and off_diagonal_mean: phase structure, redundant or moderate; null where gap is"
--| chance = """
--| subspace_size / hidden_size, what random subspaces have at any distance (gap 0); null where hidden_size is \
--| unknown"""
--| n_pairs = "pairs in off_diagonal_mean; those with a zero head are left out"
create or replace view overlap_summary as
select
    model_id, head, side,
    unnest(overlap_phases(overlap, distance, n_measured)),
    any_value(chance) as chance,
    count(overlap) as n_pairs
from with_distance('subspace_overlaps')
where layer < other_layer
group by model_id, head, side;
