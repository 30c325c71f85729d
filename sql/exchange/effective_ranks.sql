-- Effective rank of every whole weight matrix. The format has no word for an expert: of a layer's weight that has
-- several matrices none is written, and n_experts says how many were left out.
select
    layer as layer_idx,
    -- q is W_Q, gate is W_gate
    'W_' || if(length(weight) = 1, upper(weight), weight) as weight_type,
    format('{}x{}', n_rows, n_cols) as shape,
    effective_rank as eff_rank,
    count(*) over (partition by layer, weight) as n_experts
from weight_effective_ranks
where model_id = $model_id
order by layer, list_position(['q', 'k', 'v', 'o', 'gate', 'up', 'down'], weight);
