--| question = "Does the mean head's subspace change in phases over depth, or repeat throughout?"
--| grain = ["model_id", "side"]
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
--| verdict = "phase structure: gap > 0.05; else redundant: off_diagonal_mean > 0.7; else moderate; null where gap is"
--| chance = "subspace_size / hidden_size, what random subspaces have at any distance (gap 0); null where hidden_size is unknown"
--| n_pairs = "pairs in off_diagonal_mean; those with a zero head are left out"
create or replace view overlap_summary_mean_head as
with

pairs as (
    select
        overlaps_by_layer.model_id, overlaps_by_layer.side, overlaps_by_layer.mean as overlap,
        overlaps_by_layer.chance, here.n_measured,
        there.position - here.position as distance
    from overlaps_by_layer
    inner join measured_layers as here
        on overlaps_by_layer.model_id = here.model_id
        and overlaps_by_layer.layer = here.layer
    inner join measured_layers as there
        on overlaps_by_layer.model_id = there.model_id
        and overlaps_by_layer.other_layer = there.layer
    where overlaps_by_layer.layer < overlaps_by_layer.other_layer
),

summaries as (
    select
        model_id, side,
        avg(overlap) as off_diagonal_mean,
        stddev_pop(overlap) as off_diagonal_std,
        min(overlap) as off_diagonal_min,
        max(overlap) as off_diagonal_max,
        avg(overlap) filter (distance = 1) as adjacent_mean,
        stddev_pop(overlap) filter (distance = 1) as adjacent_std,
        avg(overlap) filter (distance > n_measured // 3) as distant_mean,
        stddev_pop(overlap) filter (distance > n_measured // 3) as distant_std,
        any_value(chance) as chance,
        count(overlap) as n_pairs
    from pairs
    group by model_id, side
)

select
    model_id, side, off_diagonal_mean, off_diagonal_std, off_diagonal_min, off_diagonal_max, adjacent_mean, adjacent_std,
    distant_mean, distant_std,
    adjacent_mean - distant_mean as gap,
    case
        when gap > 0.05 then 'phase structure'
        when gap is not null and off_diagonal_mean > 0.7 then 'redundant'
        when gap is not null then 'moderate'
    end as verdict,
    chance, n_pairs
from summaries;
