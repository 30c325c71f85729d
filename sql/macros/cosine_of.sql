--| about = """
--| The cosine, or the correlation, of an inner product and the squared lengths of its two sides, -1 to 1; \
--| null where one of the three is null, or a side has no length"""
create or replace macro cosine_of(product, square, other_square) as
    case
        when product is not null and square > 0 and other_square > 0
            -- rounding must not lift it out of [-1, 1]
            then greatest(least(product / sqrt(square * other_square), 1), -1)
    end;
