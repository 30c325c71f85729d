--| question = "How alike are the spectra of two random heads of a model's shape?"
--| grain = ["model_id", "head_dim"]
--| [keys]
--| head_dim = """
--| head_dim of the model, or of one of its layers where they differ; no row where there are no null spectra of the \
--| shape"""
--| [columns]
--| null_mean = """
--| mean shape cosine over pairs of null spectra, 0 to 1: what chance alone gives; null with a single sample"""
--| null_residual = """
--| mean over those pairs of sqrt(1 - cosine^2), 0 to 1: what a rescaled copy would leave; null with a single sample"""
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

-- one list a shape: few samples make few pairs
stacks as (
    select model_id, head_dim, list(sigmas) as spectra, count(*) as n_samples
    from samples
    group by model_id, head_dim
),

pairs as (
    select
        model_id, head_dim, n_samples,
        flatten(list_transform(
            spectra,
            lambda spectrum, place: list_transform(
                spectra[place + 1:],
                lambda other: least(list_cosine_similarity(spectrum, other), 1)
            )
        )) as cosines
    from stacks
)

select
    model_id, head_dim,
    list_avg(cosines) as null_mean,
    list_avg(list_transform(cosines, lambda cosine: sqrt(1 - cosine * cosine))) as null_residual,
    n_samples
from pairs;
