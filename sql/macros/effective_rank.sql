--| about = """
--| Aggregate: exp of the entropy of the shares sigma / sum(sigma), 1 to the number of values; \
--| null where all are zero"""
--| source = "Roy & Vetterli 2007, The effective rank"
-- with p = sigma / S, -sum(p ln p) = ln S - sum(sigma ln sigma) / S, which takes one pass over the values
create or replace macro effective_rank(sigma) as
    -- 0 ln 0 is 0: nullif drops those terms, since sum() skips nulls
    exp(ln(nullif(sum(sigma), 0)) - sum(sigma * ln(nullif(sigma, 0))) / nullif(sum(sigma), 0));
