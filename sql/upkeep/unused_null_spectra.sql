-- a bias is a further feature, so that a variant's factors have one column more than the model's hidden_size
delete from null_spectra
where hidden_size not in (
    select unnest([hidden_size, hidden_size + 1])
    from models
    where hidden_size is not null
)
