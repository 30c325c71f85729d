--| question = "Do the spectra of two layers agree where their operators do not?"
--| grain = ["model_id", "operator", "layer", "other_layer"]
--| kept = true
--| [keys]
--| other_layer = "second layer of the pair; every ordered pair is there, layer = other_layer too"
--| [columns]
--| mean_shape_cosine = """
--| mean over heads of the cosine of the two spectra, 0 to 1; near 1 for unrelated heads too, since their spectra have \
--| one shape; null where every head is zero in a layer"""
--| mean_operator_cosine = """
--| mean over heads of the cosine of the two operators, -1 to 1, 0 by chance; null where every head is zero in a \
--| layer"""
--| shape_minus_operator = "mean_shape_cosine - mean_operator_cosine, 0 to 2: what the layers share in spectrum alone"
--| distance = "measured layers from one to the other, 0 to L - 1"
--| n_heads = "heads of both means: in both layers and zero in neither"
create or replace view spectrum_against_operator as
with

-- head_product has spectra and no operator cosines, and so no rows
means as (
    select
        shape_cosines.model_id, shape_cosines.operator, shape_cosines.layer, shape_cosines.other_layer,
        avg(shape_cosines.cosine) filter (operator_cosines.cosine is not null) as mean_shape_cosine,
        avg(operator_cosines.cosine) as mean_operator_cosine,
        count(operator_cosines.cosine) as n_heads
    from shape_cosines
    inner join operator_cosines
        on shape_cosines.model_id = operator_cosines.model_id
        and shape_cosines.operator = operator_cosines.operator
        and shape_cosines.head = operator_cosines.head
        and shape_cosines.layer = operator_cosines.layer
        and shape_cosines.other_layer = operator_cosines.other_layer
    group by shape_cosines.model_id, shape_cosines.operator, shape_cosines.layer, shape_cosines.other_layer
)

select
    model_id, operator, layer, other_layer, mean_shape_cosine, mean_operator_cosine,
    mean_shape_cosine - mean_operator_cosine as shape_minus_operator,
    abs(distance) as distance,
    n_heads
from with_distance('means');
