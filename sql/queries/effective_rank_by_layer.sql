--| title = "Effective rank of the attention operators, by layer"
--| theme = "Spectra"
--| reading = """
--| Each point is the median over the heads of one layer: the number of directions that the operator uses, from 1 to \
--| head_dim. Dashed is chance: what heads of random factors of the same shape would have."""
--| [chart]
--| crowd = {some = "cells", many = "bands"}
--| mark = {type = "line", point = true}
--| layers = [{mark = {type = "line", strokeDash = [4, 3]}, y = "chance_effective_rank"}]
--| x = "layer:O"
--| y = {shorthand = "median_effective_rank:Q", scale = {zero = false}}
--| y_title = "median effective rank"
--| color = "model_id:N"
--| facet = "operator:N"
--| [parameters]
--| model = {}
with

chance as (
    select model_id, operator, layer, median(effective_rank) as chance_effective_rank
    from null_descriptors
    where is_chosen(model_id, $model)
    group by model_id, operator, layer
),

ranks as (
    select
        model_id, operator, layer,
        median(effective_rank) as median_effective_rank,
        min(effective_rank) as lowest_effective_rank,
        max(effective_rank) as highest_effective_rank,
        count(effective_rank) as n_heads
    from head_descriptors
    where is_chosen(model_id, $model)
    group by model_id, operator, layer
)

select
    ranks.model_id, ranks.operator, ranks.layer, ranks.median_effective_rank, chance.chance_effective_rank,
    ranks.lowest_effective_rank, ranks.highest_effective_rank, ranks.n_heads
from ranks
left join chance
    on ranks.model_id = chance.model_id
    and ranks.operator = chance.operator
    and ranks.layer = chance.layer
order by ranks.model_id, ranks.operator, ranks.layer
