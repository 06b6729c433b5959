"""Whose template each family is, for people, and which training template these models take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A family as people know it."""

    title: str
    models: str
    training_template: str = ""
    """Empty if there is none."""


KNOWN = {
    "chatml": Known("ChatML", "those that were tuned with plain ChatML, such as Dolphin and OpenHermes 2.5"),
    "chatml with markers": Known("ChatML with tools", "any whose `model.chat_template` is `chatml`"),
    "chatml of the embedded model": Known("Tiny", "`tiny`, which comes with this program"),
    "chatml with names": Known("ChatML with names", "those whose ChatML names who speaks"),
    "trl's chatml": Known("ChatML of TRL", "those that TRL gave a template with `{% generation %}`"),
    "smollm": Known("SmolLM", "SmolLM and SmolLM 2"),
    "smollm 3": Known("SmolLM 3", "SmolLM 3"),
    "phi 4": Known("Phi 4", "Phi 4 (14B)", "phi-4"),
    "dbrx": Known("DBRX", "DBRX Instruct"),
    "yi 1.5": Known("Yi 1.5", "Yi 1.5 Chat"),
    "olmo 3": Known("OLMo 3", "OLMo 3 Instruct"),
    "falcon h1": Known("Falcon H1", "Falcon H1 Instruct"),
    "lfm 2": Known("LFM 2", "LFM 2"),
    "hermes 3": Known("Hermes 3", "Hermes 3, with the template for tools"),
    "minimax m2": Known("MiniMax M2", "MiniMax M2"),
    "qwen 2.5": Known("Qwen 2.5", "Qwen 2.5 Instruct"),
    "qwen 3": Known("Qwen3", "Qwen3", "qwen3"),
    "qwen 3 without thoughts": Known(
        "Qwen3 without thoughts", "Qwen3 with `enable_thinking: false`", "qwen3"
    ),
    "qwen 3 thinking": Known("Qwen3 Thinking", "Qwen3 Thinking-2507", "qwen3"),
    "qwq": Known("QwQ", "QwQ 32B"),
    "qwen 3 coder": Known("Qwen3-Coder", "Qwen3-Coder"),
    "qwen 3.5": Known("Qwen3.5", "Qwen3.5"),
    "qwen 3.5 without thoughts": Known("Qwen3.5 without thoughts", "Qwen3.5 with `enable_thinking: false`"),
    "llama 2": Known("Llama 2", "Llama 2 Chat"),
    "llama 3": Known("Llama 3", "Llama 3 Instruct"),
    "llama 3.1": Known("Llama 3.1", "Llama 3.1, 3.2 and 3.3 Instruct", "llama-3"),
    "llama 4": Known("Llama 4", "Llama 4 Scout and Maverick"),
    "llama nemotron": Known("Llama Nemotron", "Llama 3.1 and 3.3 Nemotron"),
    "mistral 1": Known("Mistral 7B", "Mistral 7B Instruct v0.1 and v0.2"),
    "mistral 3": Known(
        "Mistral 7B v0.3", "Mistral 7B Instruct v0.3, Mixtral 8x22B, Mistral Small 2409", "mistral"
    ),
    "mixtral": Known("Mixtral 8x7B", "Mixtral 8x7B Instruct"),
    "mistral nemo": Known("Mistral Nemo", "Mistral Nemo, Ministral 8B 2410", "mistral-nemo"),
    "mistral small 3": Known("Mistral Small 3", "Mistral Small 3 and 3.1", "mistral-small-3"),
    "mistral small 3.2": Known("Mistral Small 3.2", "Mistral Small 3.2", "mistral-small-3"),
    "gemma": Known("Gemma", "Gemma 1 and 2", "gemma"),
    "gemma 3": Known("Gemma 3", "Gemma 3", "gemma"),
    "gemma 4": Known("Gemma 4", "Gemma 4", "gemma-4"),
    "gemma 4 that may think": Known(
        "Gemma 4 that may think", "Gemma 4 with `enable_thinking: true`", "gemma-4"
    ),
    "deepseek 2": Known("DeepSeek V2", "DeepSeek V2 and V2.5 Chat"),
    "deepseek 3": Known("DeepSeek V3", "DeepSeek V3"),
    "deepseek r1": Known("DeepSeek R1", "DeepSeek R1 and its distilled models", "deepseek-r1"),
    "deepseek 3.1": Known("DeepSeek V3.1", "DeepSeek V3.1"),
    "deepseek 3.1 that thinks": Known("DeepSeek V3.1 that thinks", "DeepSeek V3.1 with `thinking: true`"),
    "phi 3": Known("Phi 3", "Phi 3", "phi-3"),
    "phi 3.5": Known("Phi 3.5", "Phi 3.5", "phi-3"),
    "phi 4 mini": Known("Phi 4 mini", "Phi 4 mini"),
    "phi 3 vision": Known("Phi 3 Vision", "Phi 3 and 3.5 Vision, for rows without pictures"),
    "zephyr": Known("Zephyr", "Zephyr, TinyLlama Chat"),
    "tulu": Known("Tülu", "Tülu 2 and 3"),
    "olmo 2, whose texts begin as they end": Known("OLMo 2", "OLMo 2 Instruct"),
    "metharme": Known("Metharme", "Pygmalion 2, and others that were tuned with Metharme"),
    "glm 4": Known("GLM 4", "GLM 4 (9B of 2024, 9B and 32B 0414)", "glm-4"),
    "glm 4.5": Known("GLM 4.5", "GLM 4.5 and 4.6", "glm-4.5"),
    "glm 4.5 without thoughts": Known(
        "GLM 4.5 without thoughts", "GLM 4.5 and 4.6 with `enable_thinking: false`", "glm-4.5"
    ),
    "granite": Known("Granite 3", "Granite 3.0 and 3.1"),
    "granite 3.3": Known("Granite 3.3", "Granite 3.3"),
    "exaone 3.5": Known("EXAONE 3.5", "EXAONE 3.5"),
    "exaone 4": Known("EXAONE 4", "EXAONE 4"),
    "command r": Known("Command R", "Command R and R+"),
    "command a": Known("Command A", "Command A"),
    "ling": Known("Ling", "Ling 2"),
    "vicuna": Known("Vicuna", "Vicuna"),
    "llava": Known("LLaVA", "LLaVA 1.5 and 1.6, for rows without pictures"),
    "alpaca": Known("Alpaca", "those that were tuned with Alpaca's instructions"),
    "falcon": Known("Falcon", "Falcon Instruct"),
    "openchat": Known("OpenChat", "OpenChat 3.5, Starling"),
    "solar": Known("SOLAR", "SOLAR 10.7B Instruct"),
    "minicpm": Known("MiniCPM", "MiniCPM 2B"),
    "dialogpt": Known("DialoGPT", "DialoGPT"),
    "ernie 4.5": Known("ERNIE 4.5", "ERNIE 4.5"),
    "nemotron mini": Known("Nemotron Mini", "Nemotron Mini"),
    "idefics": Known("Idefics", "Idefics 2 and 3, SmolVLM, if the words are not lists of parts"),
    "hunyuan": Known("Hunyuan", "Hunyuan A13B"),
    "kimi k2": Known("Kimi K2", "Kimi K2 Instruct, whose calls need ids such as `functions.search:0`"),
    "seed oss": Known("Seed-OSS", "Seed-OSS"),
    "apertus": Known("Apertus", "Apertus Instruct"),
    "gpt-oss": Known("gpt-oss", "gpt-oss", "harmony"),
    "functionary": Known("Functionary", "Functionary v2"),
    "jamba": Known("Jamba", "Jamba 1.5"),
}
"""By the name that the family has in the tests."""
