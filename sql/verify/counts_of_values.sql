--| wanted = "as many values of each head and matrix as its shape gives, and k from 0 on without a gap"
with

spectra as (
    select
        model_key, 'singular values' as what, operator as of, layer, head,
        count(*) as n_values, max(k) + 1 as n_ranks
    from singular_values
    group by model_key, operator, layer, head
    union all
    select model_key, 'eigenvalues' as what, operator as of, layer, head, count(*) as n_values, max(k) + 1 as n_ranks
    from eigenvalues
    group by model_key, operator, layer, head
    union all
    select model_key, 'eigenvectors' as what, 'metric' as of, layer, head, count(*) as n_values, max(k) + 1 as n_ranks
    from eigenvectors
    group by model_key, layer, head
),

shaped as (
    select
        spectra.*,
        case
            when models.weights_sha256 is null or spectra.of not in ('metric', 'head_product') then n_values
            when spectra.of = 'head_product' then layers.head_dim
            when what = 'singular values' then least(layers.head_dim, models.hidden_size)
            when what = 'eigenvalues' then least(2 * layers.head_dim, models.hidden_size)
            else n_values
        end as n_wanted
    from spectra
    inner join models on spectra.model_key = models.model_key
    inner join layers on spectra.model_key = layers.model_key and spectra.layer = layers.layer
),

matrices as (
    select model_key, layer, weight, expert, count(*) as n_values, max(k) + 1 as n_ranks
    from weight_singular_values
    group by model_key, layer, weight, expert
)

select
    model_key,
    format(
        '{} {} ({}) of layer {}, head {}, up to k {}, not {}',
        n_values, what, shaped.of, layer, head, n_ranks - 1, n_wanted
    ) as found
from shaped
where n_values <> n_ranks or n_values <> n_wanted
union all
select
    weights.model_key,
    format('{} singular values of {} of layer {}', coalesce(n_values, 0), weights.weight, weights.layer) as found
from weights
left join matrices using (model_key, layer, weight, expert)
where (n_values, n_ranks) is distinct from (least(n_rows, n_cols), least(n_rows, n_cols))
