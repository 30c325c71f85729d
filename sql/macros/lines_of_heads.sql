--| about = """
--| The heads of a relation (model_id, operator, anchor_layer, layer, head, value, chance) as lines of a chart: \
--| one a head, their mean, and chance where it is asked for"""
create or replace macro lines_of_heads(heads, with_chance := false) as table
    select model_id, operator, anchor_layer, layer, head, 'one head' as series, value, 1 as n_heads
    from query_table(heads)
    union all
    select model_id, operator, anchor_layer, layer, null, 'mean over heads', avg(value), count(value)
    from query_table(heads)
    group by model_id, operator, anchor_layer, layer
    union all
    select model_id, operator, anchor_layer, layer, null, 'chance', any_value(chance), count(*)
    from query_table(heads)
    where with_chance
    group by model_id, operator, anchor_layer, layer;
