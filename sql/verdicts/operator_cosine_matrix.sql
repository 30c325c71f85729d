--| about = "how large the head-mean cosines between layers are, which pair has the largest, and what chance gives"
select
    model_id,
    format(
        'Over {} pairs of layers the mean cosine of their metrics is {:.3f}, from {:.3f} to {:.3f} (layers {} and {});'
        || ' chance is 0{}.',
        count(mean_cosine), avg(mean_cosine), min(mean_cosine), max(mean_cosine),
        arg_max(layer, (round(mean_cosine, 9), -layer, -other_layer)) filter (mean_cosine is not null),
        arg_max(other_layer, (round(mean_cosine, 9), -layer, -other_layer)) filter (mean_cosine is not null),
        coalesce(format(' ± {:.4f} for a pair', avg(chance_std_cosine)), '')
    ) as sentence
from operator_cosines_by_layer
where operator = 'metric' and layer < other_layer and ($model is null or model_id = $model)
group by model_id
having count(mean_cosine) > 0
order by model_id
