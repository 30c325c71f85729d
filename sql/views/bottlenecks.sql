--| question = "In which measured layer do the weights use the smallest share of their directions?"
--| grain = ["model_id"]
--| [columns]
--| layer = "the measured layer with the lowest mean rank fraction; the first on a tie"
--| mean_rank_fraction = """
--| mean of effective_rank / min(n_rows, n_cols) over the layer's weights, every expert one, in (0, 1]"""
--| mean_effective_rank = "mean effective rank of the same weights"
--| mean_rank_fraction_of_layers = """
--| the same mean fraction, averaged over the measured layers: what an ordinary layer has"""
--| n_weights = "weights of that layer in the means; zero matrices are left out"
--| n_layers = "measured layers that were compared"
create or replace view bottlenecks as
with

layer_means as (
    select
        weight_effective_ranks.model_id, weight_effective_ranks.layer,
        avg(weight_effective_ranks.rank_fraction) as mean_rank_fraction,
        avg(weight_effective_ranks.effective_rank) as mean_effective_rank,
        count(weight_effective_ranks.rank_fraction) as n_weights
    from weight_effective_ranks
    -- an unmeasured layer has other weights than the rest, and no overlap to look for
    inner join measured_layers
        on weight_effective_ranks.model_id = measured_layers.model_id
        and weight_effective_ranks.layer = measured_layers.layer
    group by weight_effective_ranks.model_id, weight_effective_ranks.layer
),

placed as (
    select
        *,
        row_number() over (partition by model_id order by mean_rank_fraction, layer) as place,
        avg(mean_rank_fraction) over (partition by model_id) as mean_rank_fraction_of_layers,
        count(*) over (partition by model_id) as n_layers
    from layer_means
    where mean_rank_fraction is not null
)

select
    model_id, layer, mean_rank_fraction, mean_effective_rank, mean_rank_fraction_of_layers, n_weights, n_layers
from placed
where place = 1;
