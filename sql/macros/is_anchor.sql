--| about = """
--| Whether a layer is the one that `wanted` means for a model and operator: a name of view anchors (last, middle, \
--| best, …) or the layer's number; looked up for the one model, where one is given"""
create or replace macro is_anchor(its_model, its_operator, its_layer, wanted, model := null) as
    its_layer::varchar = wanted::varchar
    or (its_model, its_operator, its_layer) in (
        select (anchors.model_id, anchors.operator, anchors.anchor_layer)
        from anchors
        where anchors.anchor = wanted::varchar and is_chosen(anchors.model_id, model)
    );
