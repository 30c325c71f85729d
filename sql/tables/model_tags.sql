--| title = "What the user says of a model: benchmark scores, training tokens, licence. No load or checksum touches it."
--| grain = ["model_key", "tag"]
--| [columns]
--| model_key = "models.model_key of the attention stack; a checkpoint's tags stand with each of its stacks"
--| tag = "what is said of it, such as mmlu or licence"
--| value = "as it was given, a number as text too"
create table if not exists model_tags (
    model_key bigint not null,
    tag       varchar not null,
    value     varchar not null,
    primary key (model_key, tag)
);
