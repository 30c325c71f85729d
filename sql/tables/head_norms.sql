--| title = "Squared norms and the trace of each head's operator, and of the two factors that make it."
--| grain = ["model_key", "operator", "layer", "head"]
--| [columns]
--| model_key = "models.model_key of the attention stack"
--| operator = "which operator of the head: metric, head_product or a variant such as metric_folded"
--| layer = "layer, counted from 0"
--| head = "query head, counted from 0"
--| metric_fro_sq = "squared Frobenius norm of the operator M = W_K^T W_Q; the sum of its squared singular values"
--| trace = """
--| trace of the operator, the sum of its signed eigenvalues; null where queries and keys live in different spaces, or \
--| an imported file has none"""
--| w_q_fro_sq = "squared Frobenius norm of the head's query factor; null for an imported file, which does not say"
--| w_k_fro_sq = """
--| squared Frobenius norm of the key factor that the head reads; null for an imported file, which does not say"""
--| head_product_fro_sq = """
--| squared Frobenius norm of the head_dim x head_dim product W_K W_Q^T of the same factors; null where the two sides \
--| read different spaces, or an imported file has none"""
create table if not exists head_norms (
    model_key           bigint not null,
    operator            varchar not null,
    layer               smallint not null,
    head                smallint not null,
    metric_fro_sq       double not null,
    trace               double,
    w_q_fro_sq          double,
    w_k_fro_sq          double,
    head_product_fro_sq double
);
