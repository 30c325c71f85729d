--| about = "how near the other layers' metrics are to the anchor's, the nearest layer, and what chance gives"
select
    answer.model_id,
    format(
        'Over the {} other layers the mean cosine of their metric with that of layer {} is {:.3f},'
        || ' from {:.3f} (layer {}) to {:.3f} (layer {}); chance is 0{}.',
        count(answer.cosine), answer.anchor_layer, avg(answer.cosine),
        min(answer.cosine), where_least(answer.cosine, answer.layer),
        max(answer.cosine), where_most(answer.cosine, answer.layer),
        coalesce(format(
            ' ± {:.4f} for a layer',
            avg(chance_std_cosine(models.hidden_size, answer.n_heads)) filter (answer.layer <> answer.anchor_layer)
        ), '')
    ) as sentence
from answer
inner join models on answer.model_id = models.model_id
where answer.operator = 'metric' and answer.series = 'mean over heads'
group by answer.model_id, answer.anchor_layer
having count(answer.cosine) > 0
order by answer.model_id
