-- Effective rank of every whole weight matrix. The format has no word for an expert: of a layer's weight that has
-- several matrices none is told, and n_experts says how many were left out.
with

energies as (
    select
        models.model_id,
        weight_singular_values.layer, weight_singular_values.weight, weight_singular_values.expert,
        sum(weight_singular_values.sigma::double) as total,
        -- 0 ln 0 is 0: nullif drops those terms, since sum() skips nulls
        sum(weight_singular_values.sigma::double * ln(nullif(weight_singular_values.sigma, 0)::double)) as sigma_ln_sigma
    from weight_singular_values
    inner join models on weight_singular_values.model_key = models.model_key
    where models.model_id = $model_id
    group by
        models.model_id, weight_singular_values.layer, weight_singular_values.weight, weight_singular_values.expert
),

matrices as (
    select
        energies.layer, energies.weight, weights.n_rows, weights.n_cols,
        -- with p = sigma / S, -sum(p ln p) = ln S - sum(sigma ln sigma) / S; null for an all-zero matrix
        exp(ln(nullif(energies.total, 0)) - energies.sigma_ln_sigma / nullif(energies.total, 0)) as effective_rank,
        count(*) over (partition by energies.layer, energies.weight) as n_experts
    from energies
    inner join models on energies.model_id = models.model_id
    inner join weights
        on
            models.model_key = weights.model_key
            and energies.layer = weights.layer
            and energies.weight = weights.weight
            and energies.expert = weights.expert
)

select
    layer as layer_idx,
    -- q is W_Q, gate is W_gate
    'W_' || if(length(weight) = 1, upper(weight), weight) as weight_type,
    format('{}x{}', n_rows, n_cols) as shape,
    effective_rank as eff_rank,
    n_experts
from matrices
order by layer, list_position(['q', 'k', 'v', 'o', 'gate', 'up', 'down'], weight);
