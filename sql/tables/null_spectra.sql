--| title = "Singular values of the metric of random heads, by shape: what chance alone gives."
--| grain = ["hidden_size", "head_dim", "sample", "k"]
--| [columns]
--| hidden_size = "dimensions of the residual stream that both random factors read"
--| head_dim = "rows of each random factor"
--| sample = "which random pair of factors, counted from 0"
--| k = "rank within the sample, counted from 0"
--| sigma = """
--| singular value of W_K^T W_Q, descending in k, where all entries of both factors are independent standard normal"""
create table if not exists null_spectra (
    hidden_size integer not null,
    head_dim    integer not null,
    sample      smallint not null,
    k           integer not null,
    sigma       float not null,
    primary key (hidden_size, head_dim, sample, k)
);
