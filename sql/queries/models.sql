--| title = "The models in the warehouse"
--| theme = "What is there"
--| reading = """
--| worst_conformance_error: the largest relative difference between a head's own attention logits and those of its \
--| stored factors; null for an imported file. doubt: why its rows no longer count as proved, with the stages in \
--| question where others do; null where all do. stale: stages whose numbers this program measures in another way \
--| since; `make ingest` renews just those."""
with

conformances as (
    select model_key, max(max_rel_error) as worst_conformance_error
    from conformance
    group by model_key
),

runs as (
    select model_key, max(finished_at) as ingested_at
    from ingest_runs
    group by model_key
),

doubts as (
    select
        model_key,
        case
            when count(doubt) < count(*)
            then string_agg(stage, ', ' order by stage) filter (doubt is not null) || ': '
            else ''
        end || max(doubt) as doubt
    from ingested_stages
    group by model_key
),

stale_stages as (
    select
        ingested_stages.model_key,
        string_agg(
            format('{} (version {}, now {})', ingested_stages.stage, ingested_stages.version, program.version),
            ', ' order by ingested_stages.stage
        ) as stale
    from ingested_stages
    inner join (select unnest($program_stages, max_depth := 2)) as program
        on ingested_stages.stage = program.name or starts_with(ingested_stages.stage, program.name || ':')
    where ingested_stages.version < program.version
    group by ingested_stages.model_key
)

select
    models.model_id,
    models.architecture,
    models.quantization,
    models.n_layers,
    models.n_heads,
    models.n_kv_heads,
    models.head_dim,
    models.hidden_size,
    conformances.worst_conformance_error,
    runs.ingested_at,
    doubts.doubt,
    stale_stages.stale
from models
left join conformances on models.model_key = conformances.model_key
left join runs on models.model_key = runs.model_key
left join doubts on models.model_key = doubts.model_key
left join stale_stages on models.model_key = stale_stages.model_key
order by models.name, models.revision_order, models.model_id
