--| about = "how large the head-mean cosines between layers are, which pair has the largest, and what chance gives"
select
    model_id,
    format(
        'Over {} pairs of layers the mean cosine of their metrics is {:.3f}, from {:.3f} to {:.3f} (layers {} and {});'
        || ' chance is 0{}.',
        count(mean_cosine), avg(mean_cosine), min(mean_cosine), max(mean_cosine),
        where_most(mean_cosine, layer, other_layer)[1], where_most(mean_cosine, layer, other_layer)[2],
        coalesce(format(' ± {:.4f} for a pair', avg(chance_std_cosine)), '')
    ) as sentence
from answer
where operator = 'metric' and layer < other_layer
group by model_id
having count(mean_cosine) > 0
order by model_id
