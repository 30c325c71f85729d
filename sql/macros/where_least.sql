--| about = "Aggregate: the layer, or the pair [layer, head], with the least value; of several within 1e-6 the first"
create or replace macro where_least
    (value, layer) as arg_min(layer, (round(value, 6), layer)) filter (value is not null),
    (value, layer, head) as arg_min([layer, head], (round(value, 6), layer, head)) filter (value is not null);
