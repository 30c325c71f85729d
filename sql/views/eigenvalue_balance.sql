--| question = "Does a head reward likeness or difference: how much of its symmetric part is positive?"
--| grain = ["model_id", "operator", "layer", "head"]
--| kept = true
--| [columns]
--| positive_fraction = """
--| share of the eigenvalues that are above 0; exactly 1/2 where the 2 head_dim rows of the factors are independent, \
--| so it says little; null for a zero head"""
--| positive_mass = """
--| sum of the positive eigenvalues / sum of all magnitudes, 0 to 1; 1/2 by chance and above where the trace is \
--| positive; null for a zero head"""
--| n_eigenvalues = "eigenvalues of the head: min(2 head_dim, hidden_size)"
create or replace view eigenvalue_balance as
with

sums as (
    select
        models.model_id, eigenvalues.operator, eigenvalues.layer, eigenvalues.head,
        count(*) filter (eigenvalues.eigenvalue > 0) as n_positive,
        sum(greatest(eigenvalues.eigenvalue::double, 0)) as positive_sum,
        nullif(sum(abs(eigenvalues.eigenvalue::double)), 0) as magnitude_sum,
        count(*) as n_eigenvalues
    from eigenvalues
    inner join models on eigenvalues.model_key = models.model_key
    group by models.model_id, eigenvalues.operator, eigenvalues.layer, eigenvalues.head
)

select
    model_id, operator, layer, head,
    case when magnitude_sum > 0 then n_positive / n_eigenvalues end as positive_fraction,
    positive_sum / magnitude_sum as positive_mass,
    n_eigenvalues
from sums;
