--| wanted = "a row for each pair of the layers that have a head"
with

products as (
    select
        model_key, 'products' as what, operator as of, head,
        count(*) as n_pairs,
        count(*) filter (layer = other_layer) as n_layers
    from grams
    group by model_key, operator, head
    union all
    select
        model_key, 'products of spectra' as what, operator as of, head,
        count(*) as n_pairs,
        count(*) filter (layer = other_layer) as n_layers
    from spectral_grams
    group by model_key, operator, head
),

side_pairs as (
    select
        model_key, side, head,
        count(*) as n_pairs,
        len(list_distinct(list(layer) || list(other_layer))) as n_layers
    from side_overlaps
    group by model_key, side, head
)

select model_key, format('{} {} ({}) of head {} in {} layers', n_pairs, what, of, head, n_layers) as found
from products
where n_pairs <> n_layers * (n_layers + 1) // 2
union all
select model_key, format('{} overlaps ({}) of head {} in {} layers', n_pairs, side, head, n_layers) as found
from side_pairs
where n_pairs <> n_layers * (n_layers - 1) // 2
