--| about = """
--| the mean cosine between heads of a layer, its lowest and highest layer, and in how many it is below that of random \
--| heads"""
with

layer_shapes as (
    select
        model_id, operator, layer,
        max(mean_cosine) filter (series = 'measured') as mean_cosine,
        max(mean_cosine) filter (series = 'chance') as null_mean
    from answer
    group by model_id, operator, layer
    having max(mean_cosine) filter (series = 'measured') is not null
    qualify is_first_operator(model_id, operator)
)

select
    model_id,
    format(
        'Heads of one layer have spectra ({}) of mean cosine {:.4f} over {} layers, from {:.4f} in layer {} to {:.4f}'
        || ' in layer {}',
        any_value(operator), avg(mean_cosine), count(*),
        min(mean_cosine), where_least(mean_cosine, layer), max(mean_cosine), where_most(mean_cosine, layer)
    )
    || coalesce(
        format(
            '; in {} of them that is below the {:.5f} of random heads.',
            count(*) filter (mean_cosine < null_mean), avg(null_mean)
        ),
        '.'
    ) as sentence
from layer_shapes
group by model_id
order by model_id
