"""Magpie on Ollama: instruction data that an aligned model writes itself, in the language you choose."""
