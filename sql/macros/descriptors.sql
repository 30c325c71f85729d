--| about = """
--| Aggregate: the ten descriptors of a spectrum as a struct, to be unnested; all null for an all-zero spectrum"""
--| source = "the definitions of head_descriptors; Roy & Vetterli 2007; Rudelson & Vershynin 2007"
-- the one list of the ten: what reads them takes their names from here
create or replace macro descriptors(sigma) as {
    'op_norm': nullif(max(sigma), 0),
    -- products, since pow() takes longer than all the rest
    'fro_norm': sqrt(nullif(sum(sigma * sigma), 0)),
    'nuclear_norm': nullif(sum(sigma), 0),
    'effective_modes': sum(sigma) / nullif(max(sigma), 0),
    'effective_rank': effective_rank(sigma),
    'spectral_entropy_nats':
        ln(nullif(sum(sigma * sigma), 0))
        - 2 * sum(sigma * sigma * ln(nullif(sigma, 0))) / nullif(sum(sigma * sigma), 0),
    'anisotropy': nullif(max(sigma), 0) / nullif(avg(sigma), 0),
    'condition_number': nullif(max(sigma), 0) / nullif(min(sigma), 0),
    'stable_rank': stable_rank(sigma),
    'participation_ratio':
        sum(sigma * sigma) * nullif(sum(sigma * sigma), 0) / nullif(sum(sigma * sigma * (sigma * sigma)), 0)
};
