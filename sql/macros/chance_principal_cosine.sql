--| about = """
--| The mean cosine of the principal angles between two random subspaces that have this share of all dimensions; \
--| a limit law, which is 1% high for 16 directions and 6% for one"""
--| source = """
--| Wachter 1980, The limiting empirical measure of multiple discriminant ratios; Collins 2005, Product of random \
--| projections"""
create or replace macro chance_principal_cosine(share) as
    -- the law's edges are cosines 0 and sqrt(1 - gap^2) with gap = |1 - 2 share|
    (
        greatest(2 * share - 1, 0)
        + (sqrt(1 - abs(1 - 2 * share) * abs(1 - 2 * share)) - abs(1 - 2 * share) * acos(abs(1 - 2 * share))) / pi()
    ) / share;
