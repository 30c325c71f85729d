--| question = "How large and how flat is the spectrum of each head?"
--| grain = ["model_id", "operator", "layer", "head"]
--| source = "Roy & Vetterli 2007 (effective_rank); Rudelson & Vershynin 2007 (stable_rank)"
--| [columns]
--| op_norm = "largest singular value; like every descriptor null for an all-zero spectrum"
--| fro_norm = "square root of the sum of squared singular values"
--| nuclear_norm = "sum of the singular values"
--| effective_modes = "nuclear_norm / op_norm, 1 to the number of singular values"
--| effective_rank = "exp of the entropy of sigma / sum(sigma), 1 to the number of singular values"
--| spectral_entropy_nats = "entropy of sigma^2 / sum(sigma^2), nats"
--| anisotropy = "op_norm / mean singular value, >= 1"
--| condition_number = "op_norm / smallest singular value, >= 1; null where that is 0"
--| stable_rank = "fro_norm^2 / op_norm^2, 1 to the number of singular values"
--| participation_ratio = "fro_norm^4 / sum of sigma^4, 1 to the number of singular values"
create or replace view head_descriptors as
select
    models.model_id,
    head_descriptor_rollup.operator,
    head_descriptor_rollup.layer,
    head_descriptor_rollup.head,
    head_descriptor_rollup.op_norm,
    head_descriptor_rollup.fro_norm,
    head_descriptor_rollup.nuclear_norm,
    head_descriptor_rollup.effective_modes,
    head_descriptor_rollup.effective_rank,
    head_descriptor_rollup.spectral_entropy_nats,
    head_descriptor_rollup.anisotropy,
    head_descriptor_rollup.condition_number,
    head_descriptor_rollup.stable_rank,
    head_descriptor_rollup.participation_ratio
from head_descriptor_rollup
inner join models on head_descriptor_rollup.model_key = models.model_key;
