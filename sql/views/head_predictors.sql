--| question = "What is each head as an operator, and what does it do on text?"
--| grain = ["model_id", "operator", "prompt_set", "layer", "head"]
--| [keys]
--| prompt_set = """
--| prompt set, as name@first 8 of its hash; null for a model without attention rows, whose heads stay, once"""
--| [columns]
--| stratum = "early, mid or late: the third of the measured layers that the layer is in"
--| "*" = "tables/head_descriptor_rollup"
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
    * exclude (
        model_id, operator, prompt_set, layer, head, stratum, entropy_nats, logit_std, entropy_without_sink_nats
    ),
    entropy_nats, logit_std, entropy_without_sink_nats
from heads;
