--| question = "How fast would the singular values of a model's heads fall by chance?"
--| grain = ["model_id", "operator", "k"]
--| [columns]
--| median_relative_sigma = """
--| median over the heads of the k-th value of null_head_spectra as a share of the head's largest, 0 to 1; null \
--| without a head whose factors are not zero"""
--| n_heads = "heads with a k-th value whose factors are not zero"
create or replace view relative_null_spectra as
with

shapes as (
    select
        model_id, operator, hidden_size, head_dim,
        count(nullif(size, 0)) as n_heads
    from sized_heads()
    group by model_id, operator, hidden_size, head_dim
),

-- the spectra of one shape differ by their scale alone
shares as (
    select
        shapes.model_id, shapes.operator, null_values.k, shapes.n_heads,
        null_values.mean_value / first_value(null_values.mean_value) over per_shape as relative_sigma
    from shapes
    inner join null_values() as null_values
        on shapes.hidden_size = null_values.hidden_size
        and shapes.head_dim = null_values.head_dim
    window per_shape as (
        partition by shapes.model_id, shapes.operator, shapes.hidden_size, shapes.head_dim order by null_values.k
    )
),

medians as (
    select
        model_id, operator, k,
        case
            when count(*) = 1 then any_value(if(n_heads > 0, relative_sigma, null))
            else list_median(flatten(list(repeat([relative_sigma], n_heads))))
        end as median_relative_sigma,
        sum(n_heads)::bigint as n_heads
    from shares
    group by model_id, operator, k
)

select model_id, operator, k, median_relative_sigma, n_heads
from medians;
