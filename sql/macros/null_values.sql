--| about = """
--| The singular values of a random head of each shape as shares of the product of its factors' norms: mean, lowest \
--| and highest of the samples in null_spectra"""
create or replace macro null_values() as table
    select
        hidden_size, head_dim, k,
        -- a Gaussian factor has the squared norm head_dim * hidden_size
        avg(sigma) / (head_dim * hidden_size) as mean_value,
        min(sigma)::double / (head_dim * hidden_size) as lowest_value,
        max(sigma)::double / (head_dim * hidden_size) as highest_value,
        count(*) as n_samples
    from null_spectra
    group by hidden_size, head_dim, k;
