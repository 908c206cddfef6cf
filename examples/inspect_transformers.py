"""
Inspect GPT-2, BERT, ViT, ResNet, T5, Mamba and an LSTM
=======================================================

Six models of the ``transformers`` package, built small from their configurations, and an LSTM classifier,
never trained: nothing is downloaded. Each is inspected on random inputs of its kind. Without the package the
six are left out with a sentence. What this prints and draws is shown in :doc:`/reading_the_page`;
``--save FOLDER`` writes it for that page.
"""

import importlib.util
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

import phasescope
from phasescope import plotting

WORDS, WIDTH, DEPTH, HEADS = 200, 48, 4, 4


def words(length: int) -> torch.Tensor:
    return torch.randint(0, WORDS, (8, length))


def gpt2(hub):
    config = hub.GPT2Config(vocab_size=WORDS, n_positions=64, n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS)
    return hub.GPT2LMHeadModel(config), {"input_ids": words(32)}


def bert(hub):
    config = hub.BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
    )
    batch = {"input_ids": words(32), "attention_mask": torch.ones(8, 32, dtype=torch.long)}
    return hub.BertForSequenceClassification(config), batch


def vit(hub):
    config = hub.ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        image_size=32,
        patch_size=8,
        num_labels=10,
    )
    return hub.ViTForImageClassification(config), torch.randn(8, 3, 32, 32)


def resnet(hub):
    config = hub.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[2, 2], layer_type="basic", num_labels=10
    )
    return hub.ResNetForImageClassification(config), torch.randn(8, 3, 32, 32)


def t5(hub):
    config = hub.T5Config(
        vocab_size=WORDS, d_model=WIDTH, d_kv=12, d_ff=4 * WIDTH, num_layers=2, num_heads=HEADS
    )
    batch = {"input_ids": words(20), "decoder_input_ids": words(12)}
    return hub.T5ForConditionalGeneration(config), batch


def mamba(hub):
    config = hub.MambaConfig(vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=DEPTH, state_size=8)
    return hub.MambaForCausalLM(config), {"input_ids": words(16)}


class LSTMClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, ids):
        return self.head(self.lstm(self.words(ids))[0][:, -1])


def lstm(hub):
    return LSTMClassifier(), words(60)


MODELS = {"LSTM": lstm, "GPT-2": gpt2, "BERT": bert, "ViT": vit, "ResNet": resnet, "T5": t5, "Mamba": mamba}
OF_TRANSFORMERS = list(MODELS)[1:]

# %%
# Each is inspected as it comes, in training mode; dropout is off while it is measured.


def inspected(name: str) -> phasescope.instruments.Inspection:
    with warnings.catch_warnings():  # the package warns of itself
        warnings.simplefilter("ignore")
        hub = importlib.import_module("transformers") if name in OF_TRANSFORMERS else None
        torch.manual_seed(0)
        model, batch = MODELS[name](hub)
    return phasescope.inspect(model, batch, label=name)


def save(inspection: phasescope.instruments.Inspection, folder: Path) -> None:
    stem = inspection.label.lower().replace("-", "")
    (folder / f"{stem}.txt").write_text(f"{inspection}\n", encoding="utf-8")
    for instrument in {"propagation", "tokens", "time"} & set(inspection.datasets):
        figure = next(iter(inspection.figures_of(instrument).values()))
        with plotting.style():
            figure.savefig(folder / f"{stem}-{instrument}.png", dpi=80, facecolor="white", transparent=False)


installed = importlib.util.find_spec("transformers") is not None
if not installed:
    print("The package transformers is not installed (pip install transformers): only the LSTM is inspected.")
folder = Path(sys.argv[2]) if sys.argv[1:2] == ["--save"] else None
for name in MODELS if installed else ["LSTM"]:
    inspection = inspected(name)
    print(f"\n{inspection}\n")
    if folder is not None:
        save(inspection, folder)
