--| source = "singular_values"
insert into head_descriptor_rollup by name
with

spectra as (
    select
        model_key, operator, layer, head,
        sigma::double as sigma,
        -- a product, since pow() takes longer than all the rest
        sigma::double * sigma::double as sigma_squared,
        -- 0 ln 0 is 0: nullif drops those terms, since sum() skips nulls
        ln(nullif(sigma::double, 0)) as ln_sigma
    from singular_values
    where model_key = $model_key
),

-- one pass over the values: with p = sigma / S, -sum(p ln p) = ln S - sum(sigma ln sigma) / S, and likewise for q
sums as (
    select
        model_key, operator, layer, head,
        max(sigma) as largest,
        min(sigma) as smallest,
        avg(sigma) as mean,
        sum(sigma) as total,
        sum(sigma_squared) as energy,
        sum(sigma_squared * sigma_squared) as energy_squares,
        sum(sigma * ln_sigma) as sigma_ln_sigma,
        sum(sigma_squared * ln_sigma) as energy_ln_sigma
    from spectra
    group by model_key, operator, layer, head
),

heads as (
    -- an all-zero spectrum keeps its row, with nulls
    select sums.* replace (nullif(largest, 0) as largest, nullif(total, 0) as total, nullif(energy, 0) as energy)
    from sums
)

select
    model_key, operator, layer, head,
    largest as op_norm,
    sqrt(energy) as fro_norm,
    total as nuclear_norm,
    total / largest as effective_modes,
    exp(ln(total) - sigma_ln_sigma / total) as effective_rank,
    ln(energy) - 2 * energy_ln_sigma / energy as spectral_entropy_nats,
    largest / nullif(mean, 0) as anisotropy,
    largest / nullif(smallest, 0) as condition_number,
    energy / (largest * largest) as stable_rank,
    energy * energy / nullif(energy_squares, 0) as participation_ratio
from heads
order by operator, layer, head;
