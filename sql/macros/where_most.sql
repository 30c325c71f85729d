--| about = "Aggregate: the layer, or the pair [layer, head], with the largest value; of several within 1e-6 the first"
create or replace macro where_most
    (value, layer) as arg_max(layer, (round(value, 6), -layer)) filter (value is not null),
    (value, layer, head) as arg_max([layer, head], (round(value, 6), -layer, -head)) filter (value is not null);
