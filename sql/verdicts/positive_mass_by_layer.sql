--| about = "the mean and range of the positive share over all heads, and how many lie above one half"
select
    model_id,
    format(
        'Over {} heads the positive share of eigenvalue mass has mean {:.1f}% (std {:.1f}%), from {:.1f}% (layer {},'
        || ' head {}) to {:.1f}% (layer {}, head {}); {} heads are above the 50% of random heads.',
        count(positive_mass), 100 * avg(positive_mass), 100 * stddev_pop(positive_mass),
        100 * min(positive_mass),
        where_least(positive_mass, layer, head)[1], where_least(positive_mass, layer, head)[2],
        100 * max(positive_mass),
        where_most(positive_mass, layer, head)[1], where_most(positive_mass, layer, head)[2],
        count(*) filter (positive_mass > 0.5)
    ) as sentence
from answer
where operator = 'metric' and series = 'one head'
group by model_id
having count(positive_mass) > 0
order by model_id
