--| wanted = "prompts that have their own hash, and statistics of each of a set"
with

sets as (
    select prompt_set, count(*) as n_prompts
    from prompts
    group by prompt_set
),

measured as (
    select model_key, prompt_set, layer, count(distinct prompt) as n_prompts
    from attention_stats
    where prompt_set <> 'imported'
    group by model_key, prompt_set, layer
)

select null::bigint as model_key, format('prompt {} of {} has another', prompt, prompt_set) as found
from prompts
where sha256(text) <> sha256
union all
select
    model_key,
    format(
        '{} of {} prompts of {} in layer {}', measured.n_prompts, coalesce(sets.n_prompts, 0), prompt_set, layer
    ) as found
from measured
left join sets using (prompt_set)
where measured.n_prompts is distinct from sets.n_prompts
