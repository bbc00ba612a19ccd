"""The chapter's two trainings in plain TRL and PEFT, as one would port them to today's API.

Its arguments under their present names: LoRA of rank 64 on the seven projections with dropout 0.1, batches of
2 accumulated 4 times, gradient checkpointing, learning rate 2e-4 (DPO: 1e-5), cosine, length at most 512.
Without CUDA weights are whole and in fp32, and AdamW is not paged.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from toolkit.data import Conversation, Preference, Row

LORA = {
    "r": 64,
    "lora_alpha": 32,
    "lora_dropout": 0.1,
    "bias": "none",
    "task_type": "CAUSAL_LM",
    "target_modules": ["k_proj", "gate_proj", "v_proj", "up_proj", "q_proj", "o_proj", "down_proj"],
}

SHARED = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "lr_scheduler_type": "cosine",
    "num_train_epochs": 1,
    "logging_steps": 10,
    "gradient_checkpointing": True,
    "max_length": 512,
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "seed": 0,
}


def train(method: str, base: Path, rows: list[Row], out: Path) -> tuple[float, float]:
    """Train an adapter on rows and save it in `out`; seconds and CPU seconds from rows to trained weights."""
    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    started, cpu = time.perf_counter(), time.process_time()
    trainer = (_sft if method == "sft" else _dpo)(model, tokenizer, rows, str(out))
    trainer.train()
    took = time.perf_counter() - started, time.process_time() - cpu
    trainer.model.save_pretrained(out)
    return took


def _sft(model: Any, tokenizer: Any, rows: list[Row], out: str) -> SFTTrainer:
    """The chapter's `dataset_text_field="text"`: whole conversations as text, every token learned."""
    texts = [
        tokenizer.apply_chat_template([turn.as_dict() for turn in row.messages], tokenize=False)
        for row in rows
        if isinstance(row, Conversation)
    ]
    return SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=out, learning_rate=2e-4, dataset_text_field="text", **SHARED),
        train_dataset=Dataset.from_dict({"text": texts}),
        processing_class=tokenizer,
        peft_config=LoraConfig(**LORA),
    )


def _dpo(model: Any, tokenizer: Any, rows: list[Row], out: str) -> DPOTrainer:
    """The chapter's `format_prompt`: prompt and answers as text; the reference is asked at every step."""
    pairs = [row for row in rows if isinstance(row, Preference)]
    prompts = [
        tokenizer.apply_chat_template(
            [turn.as_dict() for turn in pair.prompt], tokenize=False, add_generation_prompt=True
        )
        for pair in pairs
    ]
    end = tokenizer.eos_token + "\n"
    return DPOTrainer(
        model=model,
        args=DPOConfig(output_dir=out, learning_rate=1e-5, warmup_steps=0.1, beta=0.1, **SHARED),
        train_dataset=Dataset.from_dict(
            {
                "prompt": prompts,
                "chosen": [pair.chosen + end for pair in pairs],
                "rejected": [pair.rejected + end for pair in pairs],
            }
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(**LORA),
    )
