--| question = "Does a head read by the same directions in two layers?"
--| grain = ["model_id", "head", "side", "layer", "other_layer"]
--| [keys]
--| other_layer = "second layer of the pair; every ordered pair is there, layer = other_layer too"
--| [columns]
--| subspace_size = "directions of each subspace"
--| overlap = "mean cos^2 of the principal angles, 0 to 1, and 1 on the diagonal; null beside a zero head"
--| chance = "subspace_size / hidden_size: the mean overlap of two random subspaces; null where hidden_size is unknown"
--| is_degenerate = """
--| whether rounding chose some directions of one of the two subspaces: they are cut in a tie or at zero"""
create or replace view subspace_overlaps as
with

facts as (
    select
        models.model_id, side_overlaps.head,
        {
            'side': side_overlaps.side,
            'layer': side_overlaps.layer,
            'other_layer': side_overlaps.other_layer,
            'subspace_size': side_overlaps.subspace_size,
            'overlap': side_overlaps.overlap::double,
            'chance': side_overlaps.subspace_size / models.hidden_size,
            'is_degenerate': side_overlaps.is_degenerate
        } as pair,
        null as zero_layer
    from side_overlaps
    inner join models on side_overlaps.model_key = models.model_key
    union all
    -- every measured head has a nearest one, so that the diagonal has heads with a single layer too
    select
        models.model_id, head_matches.head,
        {
            'side': head_matches.side,
            'layer': head_matches.layer,
            'other_layer': head_matches.layer,
            'subspace_size': head_matches.subspace_size,
            'overlap': 1::double,
            'chance': head_matches.subspace_size / models.hidden_size,
            'is_degenerate': false
        },
        null
    from head_matches
    inner join models on head_matches.model_key = models.model_key
    where head_matches.rank = 0
    union all
    select model_id, head, null, layer
    from zero_heads()
),

-- one list a head: a filter on the model would reach only one side of a join
heads as (
    select
        model_id, head,
        list(pair) filter (pair is not null) as pairs,
        coalesce(list(zero_layer) filter (zero_layer is not null), []) as zero_layers
    from facts
    group by model_id, head
),

pairs as (
    select model_id, head, zero_layers, unnest(pairs, recursive := true)
    from heads
),

overlaps_measured as (
    select
        * exclude (zero_layers, overlap),
        -- rounding chose the directions of a zero head, so they have no overlap
        if(list_has_any(zero_layers, [layer, other_layer]), null, overlap) as overlap
    from pairs
)

select model_id, head, side, layer, other_layer, subspace_size, overlap, chance, is_degenerate
from overlaps_measured
union all
select model_id, head, side, other_layer, layer, subspace_size, overlap, chance, is_degenerate
from overlaps_measured
where layer < other_layer;
