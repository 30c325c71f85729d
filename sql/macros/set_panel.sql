--| about = "Window: the title of a model's panel, with the prompt set where the model has several"
create or replace macro set_panel(model_id, prompt_set) as
    model_id || if(
        min(prompt_set) over (partition by model_id) = max(prompt_set) over (partition by model_id),
        '', ', ' || prompt_set
    );
