--| question = "What would a head's spectrum be if its factors were random, with the norms that they have?"
--| grain = ["model_id", "operator", "layer", "head", "k"]
--| source = """
--| Gaussian factors of the layer's hidden_size and the operator's features, mostly head_dim, times |W_Q| |W_K| / \
--| (features hidden_size)"""
--| [columns]
--| mean_sigma = """
--| mean of the scaled k-th singular value over samples, >= 0; 0 for a zero head. No rows for head_product, nor \
--| without null spectra of the shape"""
--| lowest_sigma = "smallest over samples, >= 0"
--| highest_sigma = "largest over samples, >= 0"
--| n_samples = "null spectra of the shape"
create or replace view null_head_spectra as
select
    heads.model_id, heads.operator, heads.layer, heads.head, null_values.k,
    heads.size * null_values.mean_value as mean_sigma,
    heads.size * null_values.lowest_value as lowest_sigma,
    heads.size * null_values.highest_value as highest_sigma,
    null_values.n_samples
from sized_heads() as heads
inner join null_values() as null_values
    on heads.hidden_size = null_values.hidden_size
    and heads.head_dim = null_values.head_dim;
