--| about = """
--| The verdict on a mean cosine of operators: strong above 0.9, medium above 0.5, weak above 0.1, else rejected; \
--| null for a null"""
create or replace macro verdict_operator(mean_cosine) as
    case
        when mean_cosine > 0.9 then 'strong'
        when mean_cosine > 0.5 then 'medium'
        when mean_cosine > 0.1 then 'weak'
        when mean_cosine is not null then 'rejected'
    end;
