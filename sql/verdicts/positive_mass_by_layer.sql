--| about = "the mean and range of the positive share over all heads, and how many lie above one half"
select
    model_id,
    format(
        'Over {} heads the positive share of eigenvalue mass has mean {:.1f}% (std {:.1f}%), from {:.1f}% (layer {},'
        || ' head {}) to {:.1f}% (layer {}, head {}); {} heads are above the 50% of random heads.',
        count(positive_mass), 100 * avg(positive_mass), 100 * stddev_pop(positive_mass),
        100 * min(positive_mass),
        arg_min(layer, (round(positive_mass, 9), layer, head)),
        arg_min(head, (round(positive_mass, 9), layer, head)),
        100 * max(positive_mass),
        arg_max(layer, (round(positive_mass, 9), -layer, -head)) filter (positive_mass is not null),
        arg_max(head, (round(positive_mass, 9), -layer, -head)) filter (positive_mass is not null),
        count(*) filter (positive_mass > 0.5)
    ) as sentence
from eigenvalue_balance
where operator = 'metric' and ($model is null or model_id = $model)
group by model_id
having count(positive_mass) > 0
order by model_id
