--| about = """
--| the median largest singular value, how many times that of random heads it is, and the head that has the largest"""
select
    model_id,
    format(
        'Over {} heads the largest singular value of the {} has the median {:.3g}; head {} of layer {} has the largest,'
        || ' {:.3g}',
        count(*), any_value(operator), median(op_norm),
        arg_max(head, (op_norm, -layer, -head)), arg_max(layer, (op_norm, -layer, -head)), max(op_norm)
    )
    || coalesce(
        format('; the median head has {:.2f} times what random factors of its norms would give.', median(times_chance)),
        '.'
    ) as sentence
from answer
where op_norm is not null
group by model_id
order by model_id
