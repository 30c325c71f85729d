--| title = "How well the extracted factors reproduce each head's own attention logits."
--| grain = ["model_key", "layer", "head"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
--| max_rel_error = """
--| largest |own logit - theirs| over the sampled pairs, divided by their largest |logit|; 0 for a zero head that is \
--| zero on both sides"""
--| layout = "how W_Q and W_K were cut out of the module's parameters, or that they were read by basis vectors"
--| witness = """
--| what else dequantized this layer's weights, for a quantized checkpoint: the library's name, or that of the second \
--| path; null where the layer was not compared or the weights are not quantized"""
--| witness_max_rel_error = """
--| largest |ours - theirs| over the largest |theirs| among the layer's attention weights as the witness dequantized \
--| them; null likewise"""
create table if not exists conformance (
    model_key             bigint not null,
    layer                 smallint not null,
    head                  smallint not null,
    max_rel_error         float not null,
    layout                varchar not null,
    witness               varchar,
    witness_max_rel_error float
);
