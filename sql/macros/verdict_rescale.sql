--| about = """
--| The verdict on the mean residual of rescaled copies: supported below 0.1, partially supported below 0.3, \
--| else rejected; null for a null"""
create or replace macro verdict_rescale(mean_residual) as
    case
        when mean_residual < 0.1 then 'supported'
        when mean_residual < 0.3 then 'partially supported'
        when mean_residual is not null then 'rejected'
    end;
