--| question = "How large and how flat would the spectrum of each head be if its factors were random?"
--| grain = ["model_id", "operator", "layer", "head"]
--| source = "head_descriptors' formulas, of mean_sigma in null_head_spectra"
--| [columns]
--| op_norm = "largest mean singular value of random factors with the head's norms; like every descriptor null for a zero head"
--| fro_norm = "square root of the sum of their squares"
--| nuclear_norm = "their sum"
--| effective_modes = "nuclear_norm / op_norm, 1 to the number of singular values"
--| effective_rank = "exp of the entropy of sigma / sum(sigma), 1 to the number of singular values"
--| spectral_entropy_nats = "entropy of sigma^2 / sum(sigma^2), nats"
--| anisotropy = "op_norm / mean singular value, >= 1"
--| condition_number = "op_norm / smallest singular value, >= 1"
--| stable_rank = "fro_norm^2 / op_norm^2, 1 to the number of singular values"
--| participation_ratio = "fro_norm^4 / sum of sigma^4, 1 to the number of singular values"
create or replace view null_descriptors as
with

sums as (
    select
        model_id, operator, layer, head,
        nullif(max(mean_sigma), 0) as largest,
        min(mean_sigma) as smallest,
        avg(mean_sigma) as mean,
        nullif(sum(mean_sigma), 0) as total,
        nullif(sum(mean_sigma ** 2), 0) as energy,
        sum(mean_sigma ** 4) as energy_squares,
        sum(mean_sigma * ln(nullif(mean_sigma, 0))) as sigma_ln_sigma,
        sum(mean_sigma ** 2 * ln(nullif(mean_sigma, 0))) as energy_ln_sigma
    from null_head_spectra
    group by model_id, operator, layer, head
)

select
    model_id, operator, layer, head,
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
from sums;
