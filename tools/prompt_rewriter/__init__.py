"""Makes the LoRA for SmolLM2-135M-Instruct that ships in `skipstep.promptllm`: word lists, pairs, training, figures."""
