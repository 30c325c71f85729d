--| about = """
--| The median angle between a head's span and that in the anchor layer, over heads and other layers, beside chance."""
select
    model_id,
    format(
        'Over {} heads of other layers, the mean principal angle to the span of the same head in layer {} has the '
        || 'median {:.1f} degrees (lowest {:.1f}), where random spans have {:.1f}; {:.0f}% lie more than 5 degrees '
        || 'below that.',
        count(mean_angle_deg), any_value(anchor_layer), median(mean_angle_deg), min(mean_angle_deg),
        median(chance_mean_angle_deg), 100 * avg((mean_angle_deg < chance_mean_angle_deg - 5)::integer)
    ) as sentence
from answer
where layer <> anchor_layer and mean_angle_deg is not null
group by model_id
order by model_id
