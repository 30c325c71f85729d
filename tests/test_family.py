"""The family of a model by its name, for the names that hubs have."""

import pytest

from eigenhouse.ingest.sources.family import family

NAMES = {  # family → (name, model type), of models that belong together and of ones that are named alike
    "qwen2.5": [("Qwen/Qwen2.5-0.5B-Instruct", "qwen2"), ("Qwen2.5-72B", "qwen2"), ("qwen2.5-7b-q4_k_m", "qwen2")],
    "gemma3": [("google/gemma-3-270m", "gemma3_text"), ("gemma3-270m", "gemma3_text"), ("gemma-3-4b-it", "gemma3")],
    "gemma": [("gemma-2b", "gemma"), ("gemma-7b-it", "gemma")],
    "gemma2": [("gemma-2-2b", "gemma2")],
    "smollm2": [("SmolLM2-135M", "llama"), ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "llama")],
    "pythia": [("EleutherAI/pythia-70m-deduped", "gpt_neox"), ("pythia-1.4b", "gpt_neox")],
    "gpt2": [("gpt2", "gpt2"), ("openai-community/gpt2-medium", "gpt2"), ("gpt2-xl", "gpt2")],
    "opt": [("facebook/opt-125m", "opt")],
    "mistral": [("mistralai/Mistral-7B-v0.1", "mistral"), ("Mistral-7B-Instruct-v0.2", "mistral")],
    "minilm": [("sentence-transformers/all-MiniLM-L6-v2", "bert"), ("minilm-l6", "bert")],
    "bert": [("bert-base-uncased", "bert"), ("google-bert/bert-large-cased", "bert")],
    "deepseek-llm": [("deepseek-ai/deepseek-llm-7b", "llama"), ("deepseek-llm-7b-chat", "llama")],
    "tinyllama": [("TinyLlama-1.1B-intermediate-step-1431k-3T", "llama"), ("TinyLlama_v1.1", "llama")],
    "llama3.2": [("org/Llama-3.2-1B-Instruct", "llama"), ("meta-llama/Llama-3.2-3B", "llama")],
    "llama3": [("meta-llama/Meta-Llama-3-8B", "llama"), ("Nous-Hermes-Llama3-8B", "llama")],
    "qwen": [("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "qwen2")],
    "stablelm2": [("stabilityai/stablelm-2-1_6b", "stablelm")],
    "cerebras-gpt": [("cerebras/Cerebras-GPT-111M", "gpt2")],
    "qwen3": [("Qwen3-30B-A3B", "qwen3_moe"), ("Qwen3-0.6B-GGUF", "qwen3")],
    "olmo2": [("allenai/OLMo-2-1124-7B", "olmo2")],
    "mixtral": [("mistralai/Mixtral-8x7B-v0.1", "mixtral")],
    "t5": [("t5-small", "t5"), ("google-t5/t5-base", "t5")],
    "llama": [("7b", "llama"), ("org/model", "llama"), ("checkpoint-1000", "llama"), ("llama-7b", "llama")],
    "tiny": [("tiny", "llama"), ("tiny", None)],
    "3b": [("3B", None)],
}


@pytest.mark.parametrize("named", NAMES)
def test_names_of_hubs(named):
    assert {family(name, model_type) for name, model_type in NAMES[named]} == {named}
