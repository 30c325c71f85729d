--| question = "Between which layers does a head's subspace change most abruptly?"
--| grain = ["model_id", "head", "side", "rank"]
--| kept = true
--| [keys]
--| rank = "0 for the largest fall, at most 9; a tie goes to the earlier boundary"
--| [columns]
--| from_layer = "layer before the boundary"
--| to_layer = "the measured layer after it"
--| overlap = "overlap of the two, 0 to 1"
--| change = "overlap minus that of the boundary one measured layer earlier, -1 to 1: negative where it falls"
--| chance = "subspace_size / hidden_size, what random subspaces overlap by; null where hidden_size is unknown"
create or replace view phase_boundaries as
with

boundaries as (
    select
        model_id, head, side, position, layer as from_layer, other_layer as to_layer, overlap, chance
    from with_distance('subspace_overlaps')
    where distance = 1
),

changes as (
    select
        *,
        -- a layer that lacks the head leaves a hole, over which nothing is compared
        case when lag(position) over depth = position - 1 then overlap - lag(overlap) over depth end as change
    from boundaries
    window depth as (partition by model_id, head, side order by position)
),

ranked as (
    select *, row_number() over (partition by model_id, head, side order by change, from_layer) - 1 as rank
    from changes
    where change is not null
)

select model_id, head, side, rank, from_layer, to_layer, overlap, change, chance
from ranked
where rank < 10;
