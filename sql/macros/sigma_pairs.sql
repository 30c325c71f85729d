--| about = "The k-th singular values of both operators of a head side by side: those of the metric and of head_product"
create or replace macro sigma_pairs(model := null) as table
    select
        model_id, layer, head, k,
        max(sigma) filter (operator = 'metric') as metric_sigma,
        max(sigma) filter (operator = 'head_product') as product_sigma
    from spectra(model)
    where operator in ('metric', 'head_product')
    group by model_id, layer, head, k;
