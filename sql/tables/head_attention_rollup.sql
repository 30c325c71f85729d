--| title = "Attention of each head over a whole prompt set, kept by the loader; view head_attention shows it."
--| grain = ["model_key", "prompt_set", "layer", "head"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| prompt_set = "prompt set, as name@first 8 of its hash; `imported` for measurement files"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
--| n_prompts = "prompts of the set that were measured"
--| n_queries = "queries of all prompts"
--| n_multi_queries = "queries of all prompts that may see two keys or more"
--| entropy_nats = "mean attention entropy, nats, weighted by n_queries; null where not measured"
--| entropy_fraction = "mean entropy / ln(allowed keys), 0 to 1, weighted by n_multi_queries; null where there is none"
--| logit_std = "mean std of a query's logits, weighted by n_multi_queries; null where there is none"
--| logit_std_pooled = """
--| mean over prompts of the std over all allowed logits, weighted by n_queries; null where not measured"""
--| top1_weight = "mean largest attention weight, 0 to 1, weighted by n_queries; null where not measured"
--| sink_weight = "mean weight on key 0, 0 to 1, weighted by n_queries; null where not measured"
--| entropy_without_sink_nats = """
--| mean entropy without key 0, nats, weighted by n_multi_queries; null where there is none"""
--| sink_logit_weight = """
--| mean weight of the learned sink logit, 0 to 1, weighted by n_queries; null where the model has none"""
create table if not exists head_attention_rollup (
    model_key                 bigint not null,
    prompt_set                varchar not null,
    layer                     smallint not null,
    head                      smallint not null,
    n_prompts                 integer not null,
    n_queries                 bigint not null,
    n_multi_queries           bigint not null,
    entropy_nats              double,
    entropy_fraction          double,
    logit_std                 double,
    logit_std_pooled          double,
    top1_weight               double,
    sink_weight               double,
    entropy_without_sink_nats double,
    sink_logit_weight         double
);
