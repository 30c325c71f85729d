--| title = "The texts that attention was measured on."
--| grain = ["prompt_set", "prompt"]
--| [columns]
--| prompt_set = "prompt set, as name@first 8 of the set's hash"
--| prompt = "prompt within its set, counted from 0"
--| text = "the text, before tokenization"
--| sha256 = "sha256 of the text in UTF-8, hexadecimal"
create table if not exists prompts (
    prompt_set varchar not null,
    prompt     integer not null check (prompt >= 0),
    text       varchar not null check (text <> ''),
    sha256     varchar not null check (sha256 <> ''),
    primary key (prompt_set, prompt)
);
