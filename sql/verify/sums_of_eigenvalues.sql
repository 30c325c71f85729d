--| wanted = "eigenvalues of each head that add up to its trace, and whose squares stay within its squared norm"
-- that the squares add up to (|M|^2 + tr(P^2)) / 2 is checked as they are measured: tr(P^2) isn't stored
with

sums as (
    select
        model_key, operator, layer, head,
        sum(eigenvalue::double) as total,
        sum(abs(eigenvalue::double)) as scale,
        sum(eigenvalue::double * eigenvalue) as square
    from eigenvalues
    group by model_key, operator, layer, head
)

select
    sums.model_key,
    format(
        '{} of layer {}, head {}: sum {:.9g} and trace {:.9g}, squares {:.9g} and norm {:.9g}',
        operator, layer, head, total, trace, square, metric_fro_sq
    ) as found
from sums
inner join head_norms using (model_key, operator, layer, head)
inner join models on sums.model_key = models.model_key
where
    models.weights_sha256 is not null
    and (not abs(total - trace) <= 1e-6 * scale + 1e-37 or not square <= metric_fro_sq * (1 + 1e-6) + 1e-37)
