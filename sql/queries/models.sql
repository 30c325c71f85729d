--| title = "The models in the warehouse"
--| theme = "What is there"
--| reading = """
--| bytes: about what its rows take of the file, as the load counted them: 4 or 8 for each number, and 1.5 for a key, \
--| which DuckDB packs. worst_conformance_error: the largest relative difference between a head's own attention \
--| logits and those of its stored factors; null for an imported file. doubt: why its rows no longer count as proved, \
--| with the stages in question where others do; null where all do. stale: stages whose numbers this program measures \
--| in another way since; `make ingest` renews just those. left_out: layers with softmax attention that have no rows, \
--| and why; layers of linear attention, or of none, don't count."""
--| [parameters]
--| model = {}
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
),

unmeasured as (
    select model_key, layer
    from layers
    where not is_measured and attention_kind in ('full', 'sliding', 'chunked')
),

reasons as (
    -- the layer is the first number in a module's path; a variant's row has a space in its name
    select
        model_key,
        try_cast(regexp_extract(module, '\.(\d+)(\.|$)', 1) as integer) as layer,
        min_by(reason, length(module)) as reason
    from skipped_modules
    where stage = 'factors' and not contains(module, ' ')
    group by all
),

left_out_by_reason as (
    select
        unmeasured.model_key,
        coalesce(reasons.reason, 'no reason is known') as reason,
        count(*) as n_layers
    from unmeasured
    left join reasons on unmeasured.model_key = reasons.model_key and unmeasured.layer = reasons.layer
    group by all
),

left_out as (
    select
        left_out_by_reason.model_key,
        string_agg(
            format('{} of {} layers: {}', left_out_by_reason.n_layers, models.n_layers, left_out_by_reason.reason),
            '; ' order by left_out_by_reason.n_layers desc, left_out_by_reason.reason
        ) as left_out
    from left_out_by_reason
    inner join models on left_out_by_reason.model_key = models.model_key
    group by left_out_by_reason.model_key
)

select
    models.model_id,
    models.family,
    models.architecture,
    models.n_parameters,
    models.quantization,
    models.n_layers,
    models.n_heads,
    models.n_kv_heads,
    models.head_dim,
    models.hidden_size,
    model_sizes.bytes,
    conformances.worst_conformance_error,
    runs.ingested_at,
    left_out.left_out,
    doubts.doubt,
    stale_stages.stale
from models
left join conformances on models.model_key = conformances.model_key
left join model_sizes on models.model_id = model_sizes.model_id
left join runs on models.model_key = runs.model_key
left join doubts on models.model_key = doubts.model_key
left join stale_stages on models.model_key = stale_stages.model_key
left join left_out on models.model_key = left_out.model_key
where is_chosen(models.model_id, $model)
order by models.name, models.revision_order, models.model_id
