--| title = "Attention of each head on each prompt: means over the prompt's real queries."
--| grain = ["model_key", "prompt_set", "prompt", "layer", "head"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| prompt_set = "prompt set, as name@first 8 of its hash; `imported` for measurement files"
--| prompt = "prompt within its set, counted from 0"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
--| n_queries = "real, unpadded queries of the prompt: the weight of its means"
--| n_multi_queries = """
--| queries that may see two keys or more: the weight of entropy_fraction, logit_std and entropy_without_sink_nats"""
--| entropy_nats = """
--| mean entropy of the attention weights, nats, 0 to ln of the allowed keys; null where an imported file has none"""
--| entropy_fraction = """
--| mean of entropy / ln(allowed keys), 0 to 1, over queries with two keys or more; null without any, or imported"""
--| logit_std = """
--| mean over queries with two keys or more of the std of the logits that enter the softmax; null where there is none \
--| or the file has none"""
--| logit_std_pooled = """
--| std of the logits over all allowed entries of the prompt together; null where an imported file has none"""
--| top1_weight = "mean largest attention weight, 0 to 1; null where an imported file has none"
--| sink_weight = """
--| mean weight on key 0, the first real token, 0 where a window leaves it out; null where an imported file has none"""
--| entropy_without_sink_nats = """
--| mean entropy with key 0 left out and the rest renormalized, nats, over queries with two keys or more; null without \
--| any, or imported"""
--| sink_logit_weight = "mean weight of the learned sink logit, 0 to 1; null where the model has none"
--| dtype = """
--| of the weights and hidden states of the forward pass: `float32`, `bfloat16` or `float16`; statistics are float32 \
--| from its q and k; null for imported files"""
create table if not exists attention_stats (
    model_key                 bigint not null,
    prompt_set                varchar not null,
    prompt                    integer not null,
    layer                     smallint not null,
    head                      smallint not null,
    n_queries                 integer not null,
    n_multi_queries           integer not null,
    entropy_nats              float,
    entropy_fraction          float,
    logit_std                 float,
    logit_std_pooled          float,
    top1_weight               float,
    sink_weight               float,
    entropy_without_sink_nats float,
    sink_logit_weight         float,
    dtype                     varchar
);
