--| about = "the mean cosine over pairs of layers, the two layers least alike, and the cosine of random heads"
select
    model_id,
    format(
        'Over {} pairs of layers the spectra of the {} have a mean cosine of {:.4f}; least alike are layers {} and {},'
        || ' with {:.4f}',
        count(*), any_value(operator), avg(mean_cosine),
        where_least(mean_cosine, layer, other_layer)[1], where_least(mean_cosine, layer, other_layer)[2],
        min(mean_cosine)
    )
    || coalesce(format('; random heads of the shape have {:.5f}.', any_value(chance_cosine)), '.') as sentence
from answer
where layer < other_layer and mean_cosine is not null
group by model_id
order by model_id
