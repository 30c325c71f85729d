--| question = "What can models be grouped, coloured or ordered by?"
--| grain = ["model_id", "property"]
--| [keys]
--| property = "family, architecture, n_parameters, …; of a tag its name after `tag:`, as tag:mmlu"
--| [columns]
--| value = "as text; a model without one has no row"
--| number = "the value as a number, a date as a year with its fraction; null where it is neither"
create or replace view model_groups as
with

properties as (
    select
        models.model_id,
        unnest([
            {'property': 'family', 'value': models.family},
            {'property': 'architecture', 'value': models.architecture},
            {'property': 'name', 'value': models.name},
            {'property': 'checkpoint', 'value': models.checkpoint},
            {'property': 'stack', 'value': models.stack},
            {'property': 'revision', 'value': models.revision},
            {'property': 'revision_order', 'value': models.revision_order::varchar},
            {'property': 'dtype', 'value': models.dtype},
            {'property': 'quantization', 'value': models.quantization},
            {'property': 'position_encoding', 'value': models.position_encoding},
            {'property': 'has_qk_norm', 'value': models.has_qk_norm::varchar},
            {'property': 'has_qk_bias', 'value': models.has_qk_bias::varchar},
            {'property': 'n_parameters', 'value': models.n_parameters::varchar},
            {'property': 'n_layers', 'value': models.n_layers::varchar},
            {'property': 'n_heads', 'value': models.n_heads::varchar},
            {'property': 'n_kv_heads', 'value': models.n_kv_heads::varchar},
            {'property': 'head_dim', 'value': models.head_dim::varchar},
            {'property': 'hidden_size', 'value': models.hidden_size::varchar},
            {'property': 'ffn_size', 'value': models.ffn_size::varchar},
            {'property': 'bytes', 'value': model_sizes.bytes::varchar}
        ], recursive := true)
    from models
    left join model_sizes on models.model_id = model_sizes.model_id
)

select model_id, property, value, number_of(value) as number
from properties
where value is not null
union all
select model_id, 'tag:' || tag as property, value, number
from tags;
