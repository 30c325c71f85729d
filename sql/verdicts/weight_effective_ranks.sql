--| about = "the bottleneck layer, its mean rank fraction against that of all layers, and the weight with the lowest"
with

lowest as (
    select
        model_id,
        min(rank_fraction) as fraction,
        arg_min({'weight': weight, 'layer': layer}, (round(rank_fraction, 9), layer, weight)) as place
    from weight_effective_ranks
    where is_chosen(model_id, $model)
    group by model_id
)

select
    bottlenecks.model_id,
    format(
        'Of {} layers, layer {} has the lowest mean rank fraction, {:.0f} % over {} weights against {:.0f} % in the'
        || ' mean layer; the lowest of a single matrix is {:.0f} %, of {} in layer {} (a square Gaussian matrix has'
        || ' 80 %).',
        bottlenecks.n_layers, bottlenecks.layer, 100 * bottlenecks.mean_rank_fraction, bottlenecks.n_weights,
        100 * bottlenecks.mean_rank_fraction_of_layers, 100 * lowest.fraction, lowest.place.weight, lowest.place.layer
    ) as sentence
from bottlenecks
inner join lowest on bottlenecks.model_id = lowest.model_id
order by bottlenecks.model_id
