--| question = "How near are the leading eigenvectors of a head in two layers?"
--| grain = ["model_id", "head", "layer", "other_layer"]
--| kept = true
--| [keys]
--| other_layer = "second layer of the pair, other_layer > layer"
--| [columns]
--| mean_cosine = """
--| mean cosine of the principal angles between the spans of the n_directions eigenvectors of largest magnitude, 0 to \
--| 1; of a zero head's too, which view eigenspace_angles leaves out"""
--| min_cosine = "cosine of the largest principal angle, 0 to 1"
--| is_degenerate = """
--| whether one of the two spans is cut in a tie (or at zero), so that rounding chose some of its directions"""
--| n_directions = "dimensions of either span"
--| chance_mean_cosine = "mean_cosine of two random subspaces, by chance_principal_cosine; null without hidden_size"
--| chance_top1_overlap = "mean top1_overlap of two random vectors, 1 / hidden_size; null without hidden_size"
--| top1_overlap = "(v . v')^2 of the eigenvectors of largest magnitude, 0 to 1"
--| is_top1_degenerate = """
--| whether the largest magnitude is tied (or zero) in one of the two layers, so that rounding chose the vector"""
create or replace view eigenspace_pairs as
with

angles as (
    select
        models.model_id, principal_cosines.head, principal_cosines.layer, principal_cosines.other_layer,
        avg(principal_cosines.cosine::double) as mean_cosine,
        min(principal_cosines.cosine)::double as min_cosine,
        bool_or(principal_cosines.is_degenerate) as is_degenerate,
        count(*) as n_directions,
        chance_principal_cosine(count(*) / any_value(models.hidden_size)) as chance_mean_cosine,
        1 / any_value(models.hidden_size) as chance_top1_overlap
    from principal_cosines
    inner join models on principal_cosines.model_key = models.model_key
    where principal_cosines.basis = 'eigen'
    group by models.model_id, principal_cosines.head, principal_cosines.layer, principal_cosines.other_layer
),

leaders as (
    select
        models.model_id, eigenvector_overlaps.head, eigenvector_overlaps.layer, eigenvector_overlaps.other_layer,
        eigenvector_overlaps.top1_overlap::double as top1_overlap, eigenvector_overlaps.is_degenerate
    from eigenvector_overlaps
    inner join models on eigenvector_overlaps.model_key = models.model_key
)

select angles.*, leaders.top1_overlap, leaders.is_degenerate as is_top1_degenerate
from angles
left join leaders using (model_id, head, layer, other_layer);
