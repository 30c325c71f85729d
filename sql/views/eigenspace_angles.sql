--| question = "Do a head's leading eigenvectors span the same space as in an anchor layer?"
--| grain = ["model_id", "head", "layer", "anchor_layer"]
--| [keys]
--| anchor_layer = "layer compared with; every ordered pair is there, layer = anchor_layer too (all cosines 1)"
--| [columns]
--| mean_cosine = """
--| mean cosine of the principal angles between the spans of the n_directions eigenvectors of largest magnitude, 0 to \
--| 1; null beside a zero head"""
--| min_cosine = "cosine of the largest principal angle, 0 to 1; null beside a zero head"
--| top1_overlap = "(v . v')^2 of the eigenvectors of largest magnitude, 0 to 1; null beside a zero head"
--| chance_mean_cosine = "mean_cosine of two random subspaces, by chance_principal_cosine; null without hidden_size"
--| chance_top1_overlap = "mean top1_overlap of two random vectors, 1 / hidden_size; null without hidden_size"
--| n_directions = "dimensions of either span"
--| is_degenerate = """
--| whether one of the two spans is cut in a tie (or at zero), so that rounding chose some of its directions"""
--| is_top1_degenerate = """
--| whether the largest magnitude is tied (or zero) in one of the two layers, so that rounding chose the vector"""
create or replace view eigenspace_angles as
with

zeros as (
    select model_id, head, list(layer) as layers
    from zero_heads()
    group by model_id, head
),

-- every pair from both of its layers, and every layer with itself
ordered as (
    select
        * replace (unnest([layer, other_layer]) as layer, unnest([other_layer, layer]) as other_layer)
    from eigenspace_pairs
    union all by name
    select distinct
        model_id, head, unnest([layer, other_layer]) as layer, unnest([layer, other_layer]) as other_layer,
        chance_mean_cosine, chance_top1_overlap, n_directions,
        1 as mean_cosine, 1 as min_cosine, 1 as top1_overlap, false as is_degenerate, false as is_top1_degenerate
    from eigenspace_pairs
)

select
    ordered.model_id, ordered.head, ordered.layer, ordered.other_layer as anchor_layer,
    case when zeros.head is null then ordered.mean_cosine end as mean_cosine,
    case when zeros.head is null then ordered.min_cosine end as min_cosine,
    case when zeros.head is null then ordered.top1_overlap end as top1_overlap,
    ordered.chance_mean_cosine, ordered.chance_top1_overlap, ordered.n_directions,
    ordered.is_degenerate, ordered.is_top1_degenerate
from ordered
left join zeros
    on ordered.model_id = zeros.model_id
    and ordered.head = zeros.head
    and list_has_any(zeros.layers, [ordered.layer, ordered.other_layer]);
