--| question = "How do weight ranks, overlaps and MLP alignment run together over depth?"
--| grain = ["model_id", "side", "layer"]
--| [columns]
--| mean_effective_rank = """
--| mean effective rank of the layer's weight matrices, every expert one, the same for both sides; null without them"""
--| adjacent_overlap = "mean overlap over heads with the next measured layer, 0 to 1; null in the last"
--| bottleneck_overlap = """
--| mean overlap over heads with the layer of view bottlenecks, 0 to 1; null in that layer itself and where there is \
--| none"""
--| ffn_alignment = """
--| mean energy_fraction over heads and experts, gate where there is one, else up, 0 to 1; null without an MLP"""
--| chance = """
--| subspace_size / hidden_size, what overlaps and alignment are for random directions; null where hidden_size is \
--| unknown"""
create or replace view layer_profiles as
with

facts as (
    select model_id, side, layer, other_layer, mean as overlap, chance, distance
    from with_distance('overlaps_by_layer')
    union all by name
    select
        model_id, side, layer,
        if(weight = 'gate', energy_fraction, null) as gate_fraction,
        if(weight = 'up', energy_fraction, null) as up_fraction,
        chance
    from ffn_alignment
    union all by name
    select model_id, unnest(['key', 'query']) as side, layer, effective_rank
    from weight_effective_ranks
    union all by name
    select model_id, layer as bottleneck_layer from bottlenecks
),

-- a window and not a join, where a filter on the model would reach only one side
placed as (
    select * replace (max(bottleneck_layer) over (partition by model_id) as bottleneck_layer)
    from facts
)

select
    model_id, side, layer,
    avg(effective_rank) as mean_effective_rank,
    max(overlap) filter (distance = 1) as adjacent_overlap,
    -- a layer's overlap with itself is 1 by definition, and would rule every correlation
    max(overlap) filter (other_layer = bottleneck_layer and distance != 0) as bottleneck_overlap,
    coalesce(avg(gate_fraction), avg(up_fraction)) as ffn_alignment,
    max(chance) as chance
from placed
where side is not null
group by model_id, side, layer
-- layers with weights alone have no side
having count(distance) + count(gate_fraction) + count(up_fraction) > 0;
