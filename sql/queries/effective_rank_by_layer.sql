--| title = "Effective rank of the attention operators, by layer"
--| theme = "Spectra"
--| chart = {mark = {type = "line", point = true}, x = "layer:O", y = "median_effective_rank:Q", color = "model_id:N", facet = "operator:N"}
--| reading = "Each point is the median over the heads of one layer: the number of directions that the operator uses, from 1 to head_dim."
--| [parameters]
--| model = {}
select
    model_id, operator, layer,
    median(effective_rank) as median_effective_rank,
    min(effective_rank) as lowest_effective_rank,
    max(effective_rank) as highest_effective_rank,
    count(effective_rank) as n_heads
from head_descriptors
where $model is null or model_id = $model
group by model_id, operator, layer
order by model_id, operator, layer
