--| question = "How large and how flat would the spectrum of each head be if its factors were random?"
--| grain = ["model_id", "operator", "layer", "head"]
--| source = "macro descriptors, of mean_sigma in null_head_spectra"
--| [columns]
--| "*" = "tables/head_descriptor_rollup"
create or replace view null_descriptors as
with

-- the spectra of one shape differ by their scale alone, which three of the ten go with
shapes as (
    select hidden_size, head_dim, descriptors(mean_value) as of_one
    from null_values()
    group by hidden_size, head_dim
)

select
    heads.model_id, heads.operator, heads.layer, heads.head,
    unnest(if(
        heads.size > 0,
        struct_update(
            shapes.of_one,
            op_norm := heads.size * shapes.of_one.op_norm,
            fro_norm := heads.size * shapes.of_one.fro_norm,
            nuclear_norm := heads.size * shapes.of_one.nuclear_norm
        ),
        null
    ))
from sized_heads() as heads
inner join shapes
    on heads.hidden_size = shapes.hidden_size
    and heads.head_dim = shapes.head_dim;
