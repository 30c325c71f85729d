--| title = "Spectral descriptors of each head, kept by the loader; view head_descriptors shows them."
--| grain = ["model_key", "operator", "layer", "head"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| operator = "which operator of the head: metric, head_product or a variant such as metric_folded"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
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
create table if not exists head_descriptor_rollup (
    model_key             bigint not null,
    operator              varchar not null,
    layer                 smallint not null,
    head                  smallint not null,
    op_norm               double,
    fro_norm              double,
    nuclear_norm          double,
    effective_modes       double,
    effective_rank        double,
    spectral_entropy_nats double,
    anisotropy            double,
    condition_number      double,
    stable_rank           double,
    participation_ratio   double
);
