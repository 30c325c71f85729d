--| wanted = "every head of each measured layer in every spectrum and in each prompt"
with

heads as (
    select model_key, 'singular values' as what, operator as of, layer, count(distinct head) as n_found
    from singular_values
    group by model_key, operator, layer
    union all
    select model_key, 'norms' as what, operator as of, layer, count(distinct head) as n_found
    from head_norms
    group by model_key, operator, layer
    union all
    select model_key, 'attention' as what, format('{}, prompt {}', prompt_set, prompt) as of, layer, count(*) as n_found
    from attention_stats
    group by model_key, prompt_set, prompt, layer
),

-- an operator that a model has, it has in every measured layer, but for those that skipped_modules tells of
layers_of as (
    select model_key, count(distinct layer) as n_layers
    from singular_values
    where operator = 'metric'
    group by model_key
)

select
    heads.model_key,
    format('{} of {} heads in {} ({}) of layer {}', n_found, layers.n_heads, what, heads.of, heads.layer) as found
from heads
inner join layers using (model_key, layer)
where n_found <> layers.n_heads
union all
select
    layers_of.model_key,
    format(
        'singular values of {} layers of {} measured', layers_of.n_layers, count(*) filter (layers.is_measured)
    ) as found
from layers_of
inner join layers on layers_of.model_key = layers.model_key
inner join models on layers_of.model_key = models.model_key
where models.weights_sha256 is not null
group by layers_of.model_key, layers_of.n_layers
having layers_of.n_layers <> count(*) filter (layers.is_measured)
