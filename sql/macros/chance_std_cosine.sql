--| about = "The std of the mean cosine of n independent heads of Gaussian factors, 1 / (hidden_size sqrt(n_heads))"
create or replace macro chance_std_cosine(hidden_size, n_heads) as
    -- E <M, M'>^2 = c^2 d^2 and E |M|^2 = c d^2 for (c, d) factors of unit variance, heads uncorrelated
    1 / (hidden_size * sqrt(nullif(n_heads, 0)));
