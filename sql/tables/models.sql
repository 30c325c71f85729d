--| title = "The attention stacks in the warehouse: one row a stack, and so one row a model with a single stack."
--| grain = ["model_id"]
--| [columns]
--| model_id = "what people type: org/name or the given name, with @revision and #stack where there are such"
--| model_key = """
--| the stack's key in every fact table; microseconds since 1970 at its first ingest, so it grows with time"""
--| name = "the model's name without revision and stack"
--| revision = "revision, branch or tag that was asked for; null where none was"
--| revision_order = """
--| place of the revision among those of its name, rising along training; null where there is no revision"""
--| source = "where the weights or the measurements came from: hub id, folder or file"
--| checkpoint = "model_id without the #stack suffix: the same for all stacks of one checkpoint"
--| stack = "stack within the checkpoint: encoder, decoder, cross, text, vision, audio, …; null where it has only one"
--| weights_sha256 = """
--| hash of the weights that the model_id is bound to; null where there were none, as for an imported file"""
--| architecture = "architecture class as the configuration names it; null for an imported file"
--| n_layers = "layers of the stack, unmeasured ones included"
--| n_heads = "query heads; the largest where layers differ"
--| n_kv_heads = "key-value heads; the largest where layers differ; null for an imported file that does not say"
--| head_dim = """
--| dimensions of a query and key vector, without those that latent attention keeps for positions alone; the largest \
--| where layers differ; null for an imported file that does not say"""
--| hidden_size = "dimensions of the residual stream; null for an imported file that does not say"
--| ffn_size = "inner dimensions of the feed-forward block; null where unknown or without one"
--| dtype = """
--| number format that most values of the stored matrices have, of codes theirs and not their scales'; null for an \
--| imported file"""
--| quantization = """
--| method and bits by which most of the stored codes are quantized, of a GGUF its file type; null where none are"""
--| attention_scale = "factor on q·k before the softmax, mostly head_dim^-0.5; in no stored metric; null where unknown"
--| has_qk_norm = "whether queries and keys are normalized per head; null where unknown"
--| has_qk_bias = "whether the query or the key projection has a bias; null where unknown"
--| position_encoding = "how positions enter attention: rope, alibi, learned, …; null where unknown"
--| n_parameters = """
--| parameters of the whole model that its checkpoint fills, the same for each of its stacks: one that is tied counts \
--| once, a quantized weight as the values it stands for; null for an imported file, and for what a program before \
--| schema 8 measured"""
--| family = """
--| stem of the name, such as qwen2.5 of Qwen/Qwen2.5-0.5B-Instruct; the model type where the name has none"""
create table if not exists models (
    model_id          varchar not null,
    model_key         bigint not null unique,
    name              varchar not null,
    revision          varchar,
    revision_order    bigint,
    source            varchar,
    checkpoint        varchar not null,
    stack             varchar,
    weights_sha256    varchar,
    architecture      varchar,
    n_layers          integer not null check (n_layers > 0),
    n_heads           integer not null check (n_heads > 0),
    n_kv_heads        integer check (n_kv_heads > 0),
    head_dim          integer check (head_dim > 0),
    hidden_size       integer check (hidden_size > 0),
    ffn_size          integer check (ffn_size > 0),
    dtype             varchar,
    quantization      varchar,
    attention_scale   double check (attention_scale > '-infinity' and attention_scale < 'infinity'),
    has_qk_norm       boolean,
    has_qk_bias       boolean,
    position_encoding varchar,
    n_parameters      bigint,
    family            varchar,
    primary key (model_id)
);
