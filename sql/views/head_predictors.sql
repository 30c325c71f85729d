--| question = "What is each head as an operator, and what does it do on text?"
--| grain = ["model_id", "operator", "prompt_set", "layer", "head"]
--| [keys]
--| prompt_set = "prompt set, as name@first 8 of its hash; null for a model without attention rows, whose heads stay, once"
--| [columns]
--| stratum = "early, mid or late: the third of the measured layers that the layer is in"
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
--| entropy_nats = "mean attention entropy, nats; like all that follow null without attention rows"
--| logit_std = "mean std of a query's logits"
--| entropy_without_sink_nats = "mean attention entropy without key 0, nats"
create or replace view head_predictors as
with

heads as (
    select
        head_descriptors.*,
        measured_layers.stratum,
        head_attention.prompt_set,
        head_attention.entropy_nats,
        head_attention.logit_std,
        head_attention.entropy_without_sink_nats
    from head_descriptors
    inner join measured_layers
        on head_descriptors.model_id = measured_layers.model_id
        and head_descriptors.layer = measured_layers.layer
    left join head_attention
        on head_descriptors.model_id = head_attention.model_id
        and head_descriptors.layer = head_attention.layer
        and head_descriptors.head = head_attention.head
    -- of a model with attention, a head that no prompt set covers has nothing to be compared with
    qualify head_attention.prompt_set is not null
        or count(head_attention.prompt_set) over (partition by head_descriptors.model_id) = 0
)

select
    model_id, operator, prompt_set, layer, head, stratum,
    op_norm, fro_norm, nuclear_norm, effective_modes, effective_rank, spectral_entropy_nats,
    anisotropy, condition_number, stable_rank, participation_ratio,
    entropy_nats, logit_std, entropy_without_sink_nats
from heads;
