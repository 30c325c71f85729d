--| title = "What an ingest left out of a stack, and why."
--| grain = ["model_key", "module", "stage"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| module = "module, layer, variant or table that has no rows"
--| stage = "stage of the ingest that left it out; a run replaces the rows of the stages that it ran"
--| reason = "why it was left out"
create table if not exists skipped_modules (
    model_key bigint not null,
    module    varchar not null,
    stage     varchar not null,
    reason    varchar not null check (reason <> ''),
    primary key (model_key, module, stage)
);
