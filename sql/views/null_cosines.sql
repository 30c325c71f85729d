--| question = "How alike are the spectra of two random heads of a model's shape?"
--| grain = ["model_id", "head_dim"]
--| [keys]
--| head_dim = "head_dim of the model, or of one of its layers where they differ; no row where there are no null spectra of the shape"
--| [columns]
--| null_mean = "mean shape cosine over pairs of null spectra, 0 to 1: what chance alone gives; null with a single sample"
--| n_samples = "null spectra of the shape"
create or replace view null_cosines as
with

shapes as (
    select model_id, hidden_size, head_dim
    from models
    union
    select models.model_id, models.hidden_size, layers.head_dim
    from models
    inner join layers on models.model_key = layers.model_key
),

samples as (
    select
        shapes.model_id, shapes.head_dim, null_spectra.sample,
        list(null_spectra.sigma::double order by null_spectra.k) as sigmas
    from shapes
    inner join null_spectra
        on shapes.hidden_size = null_spectra.hidden_size
        and shapes.head_dim = null_spectra.head_dim
    group by shapes.model_id, shapes.head_dim, null_spectra.sample
),

-- one list a shape, as few samples make few pairs
stacks as (
    select model_id, head_dim, list(sigmas) as spectra, count(*) as n_samples
    from samples
    group by model_id, head_dim
)

select
    model_id, head_dim,
    list_avg(flatten(list_transform(
        spectra,
        lambda spectrum, place: list_transform(
            spectra[place + 1:],
            lambda other: list_cosine_similarity(spectrum, other)
        )
    ))) as null_mean,
    n_samples
from stacks;
