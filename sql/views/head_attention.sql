--| question = "How spread out is the attention of each head over a prompt set?"
--| grain = ["model_id", "prompt_set", "layer", "head"]
--| [columns]
--| n_prompts = "prompts of the set that were measured"
--| n_queries = "queries of all prompts"
--| n_multi_queries = "queries of all prompts that may see two keys or more"
--| entropy_nats = "mean attention entropy, nats, weighted by n_queries; null where not measured"
--| entropy_fraction = "mean entropy / ln(allowed keys), 0 to 1, weighted by n_multi_queries; null where there is none"
--| logit_std = "mean std of a query's logits, weighted by n_multi_queries; null where there is none"
--| logit_std_pooled = "mean over prompts of the std over all allowed logits, weighted by n_queries; null where not measured"
--| top1_weight = "mean largest attention weight, 0 to 1, weighted by n_queries; null where not measured"
--| sink_weight = "mean weight on key 0, 0 to 1, weighted by n_queries; null where not measured"
--| entropy_without_sink_nats = "mean entropy without key 0, nats, weighted by n_multi_queries; null where there is none"
--| sink_logit_weight = "mean weight of the learned sink logit, 0 to 1, weighted by n_queries; null where the model has none"
create or replace view head_attention as
select
    models.model_id,
    head_attention_rollup.prompt_set,
    head_attention_rollup.layer,
    head_attention_rollup.head,
    head_attention_rollup.n_prompts,
    head_attention_rollup.n_queries,
    head_attention_rollup.n_multi_queries,
    head_attention_rollup.entropy_nats,
    head_attention_rollup.entropy_fraction,
    head_attention_rollup.logit_std,
    head_attention_rollup.logit_std_pooled,
    head_attention_rollup.top1_weight,
    head_attention_rollup.sink_weight,
    head_attention_rollup.entropy_without_sink_nats,
    head_attention_rollup.sink_logit_weight
from head_attention_rollup
inner join models on head_attention_rollup.model_key = models.model_key;
