--| about = """
--| A table of inner products between the layers of a head (grams, spectral_grams) with the squared norms of both \
--| layers: energy and other_energy, null where the layer has none"""
create or replace macro gram_pairs(products) as table
    with

    -- one list a head: a self-join would look up each pair in the rows of every model
    heads as (
        select
            models.model_id, inner_products.operator, inner_products.head,
            list({
                'layer': inner_products.layer,
                'other_layer': inner_products.other_layer,
                'gram': inner_products.gram
            }) as pairs,
            map_from_entries(list((inner_products.layer, inner_products.gram))
                filter (inner_products.layer = inner_products.other_layer)) as energies
        from query_table(products) as inner_products
        inner join models on inner_products.model_key = models.model_key
        group by models.model_id, inner_products.operator, inner_products.head
    ),

    pairs as (
        select model_id, operator, head, energies, unnest(pairs, recursive := true)
        from heads
    )

    select
        model_id, operator, head, layer, other_layer, gram,
        energies[layer] as energy,
        energies[other_layer] as other_energy
    from pairs;
