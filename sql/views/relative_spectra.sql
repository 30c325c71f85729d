--| question = "How fast do the singular values of a model's heads fall?"
--| grain = ["model_id", "operator", "k"]
--| kept = true
--| [columns]
--| median_relative_sigma = """
--| median over the heads of the k-th singular value as a share of the head's largest, 0 to 1; null without a head \
--| that is not zero"""
--| n_heads = "heads with a k-th value that are not zero"
create or replace view relative_spectra as
with

shares as (
    select
        model_id, operator, k,
        -- an all-zero head has no shares: null, which the median skips
        sigma / nullif(max(sigma) over (partition by model_id, operator, layer, head), 0) as relative_sigma
    from spectra()
)

select
    model_id, operator, k,
    median(relative_sigma) as median_relative_sigma,
    count(relative_sigma) as n_heads
from shares
group by model_id, operator, k;
