--| about = """
--| The rows of a relation of pairs (model_id, layer, other_layer), each with the distance from layer to other_layer, \
--| the position of layer and the number of layers, all counted in measured layers"""
create or replace macro with_distance(pairs) as table
    select paired.*, there.position - here.position as distance, here.position, here.n_measured
    from query_table(pairs) as paired
    inner join measured_layers as here
        on paired.model_id = here.model_id
        and paired.layer = here.layer
    inner join measured_layers as there
        on paired.model_id = there.model_id
        and paired.other_layer = there.layer;
