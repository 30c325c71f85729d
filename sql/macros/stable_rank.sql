--| about = "Aggregate: sum of sigma^2 / largest sigma^2, 1 to the number of values; null where all are zero"
--| source = "Rudelson & Vershynin 2007, Sampling from large matrices"
create or replace macro stable_rank(sigma) as
    sum(sigma * sigma) / (nullif(max(sigma), 0) * nullif(max(sigma), 0));
