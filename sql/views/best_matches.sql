--| question = "Which head of the whole model is nearest to each head, and by how much more than the rest?"
--| grain = ["model_id", "side", "layer", "head"]
--| [columns]
--| other_layer = "layer of the nearest head, maybe the same; null, like its head and overlap, for a zero head"
--| other_head = "the nearest head, counted from 0"
--| overlap = """
--| mean cos^2 of the principal angles with it, 0 to 1: the largest of many, so above the mean by selection alone"""
--| mean_overlap = "mean overlap with all other heads of the model, 0 to 1; null for a zero head"
--| chance = "subspace_size / hidden_size: the mean overlap of two random subspaces; null where hidden_size is unknown"
--| is_degenerate = "whether rounding chose some directions of one of the two: they are cut in a tie or at zero"
create or replace view best_matches as
with

facts as (
    select
        models.model_id, head_matches.side, head_matches.layer, head_matches.head, head_matches.other_layer,
        head_matches.other_head, head_matches.overlap::double as overlap,
        head_matches.mean_overlap::double as mean_overlap,
        head_matches.subspace_size / models.hidden_size as chance, head_matches.is_degenerate,
        false as is_zero
    from head_matches
    inner join models on head_matches.model_key = models.model_key
    where head_matches.rank = 0
    union all by name
    -- not joined: a filter on the model would reach only one side of a join
    from zero_heads()
),

nearest as (
    select * replace (bool_or(is_zero) over (partition by model_id, layer, head) as is_zero)
    from facts
)

select
    model_id, side, layer, head,
    -- rounding chose the directions of a zero head, so they are near to nothing
    if(is_zero, null, other_layer) as other_layer,
    if(is_zero, null, other_head) as other_head,
    if(is_zero, null, overlap) as overlap,
    if(is_zero, null, mean_overlap) as mean_overlap,
    chance, is_degenerate
from nearest
where side is not null;
