"""Chains and residual networks of linear layers: one function in many spellings, oddities of real code."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.inputs import INPUTS, mlp
from zoo.known import Known, with_batch


def _scaled(layer: nn.Linear, variance: float) -> nn.Linear:
    """The layer with weights of variance `variance / inputs` and no bias."""
    nn.init.normal_(layer.weight, std=math.sqrt(variance / layer.in_features))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def linear(inputs: int, outputs: int, variance: float) -> nn.Linear:
    return _scaled(nn.Linear(inputs, outputs), variance)


class Functional(nn.Module):
    """A plain chain with its weights in one module and no other module in it."""

    def __init__(self, chain: nn.Sequential, activation: str) -> None:
        super().__init__()
        layers = [m for m in chain.modules() if isinstance(m, nn.Linear)]
        self.weights = nn.ParameterList(layer.weight for layer in layers)
        self.biases = nn.ParameterList(layer.bias for layer in layers)
        self.activation = getattr(torch, activation)

    def forward(self, x: Tensor) -> Tensor:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = F.linear(x if i == 0 else self.activation(x), weight, bias)
        return x


class Matmul(Functional):
    """The same, with the products written out."""

    def forward(self, x: Tensor) -> Tensor:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (x if i == 0 else self.activation(x)) @ weight.T + bias
        return x


def nested(chain: nn.Sequential) -> nn.Sequential:
    """The same chain, two layers a container and these in one more."""
    *hidden, head = chain
    pairs = (nn.Sequential(*hidden[i : i + 4]) for i in range(0, len(hidden), 4))
    return nn.Sequential(nn.Sequential(*pairs), head)


def mlp_as(spelling: str) -> tuple[nn.Module, Any]:
    """The model "mlp" of the zoo in another spelling, with the same weights and inputs."""
    chain, batch = mlp()
    return _respelled(chain, spelling, "tanh"), batch


def _respelled(chain: nn.Sequential, spelling: str, activation: str) -> nn.Module:
    if spelling == "nested":
        return nested(chain)
    return {"module": lambda c, a: c, "functional": Functional, "matmul": Matmul}[spelling](chain, activation)


def he_relu_as(
    spelling: str, *, width: int = 128, depth: int = 8, read_out: float = 0.1
) -> tuple[nn.Module, Any]:
    """A ReLU network at its critical point, whose read-out is ten times too small."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [linear(width, width, 2.0), nn.ReLU()]
    chain = nn.Sequential(*layers, linear(width, 10, read_out**2))
    return _respelled(chain, spelling, "relu"), torch.randn(INPUTS, width)


class ResidualMLP(nn.Module):
    """A stem that keeps K = 1, blocks whose branch has K = 1, a read-out."""

    def __init__(self, width: int, depth: int, *, post_norm: bool) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.stem = linear(12, width, 1.0)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(width),
                    "fc1": linear(width, width, 2.0),
                    "fc2": linear(width, width, 1.0),
                }
            )
            for _ in range(depth)
        )
        self.norm = nn.Identity() if post_norm else nn.LayerNorm(width)
        self.head = linear(width, 5, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            if self.post_norm:
                x = block["norm"](x + block["fc2"](F.relu(block["fc1"](x))))
            else:
                x = x + block["fc2"](F.relu(block["fc1"](block["norm"](x))))
        return self.head(self.norm(x))


class LinearBlock(nn.Module):
    def __init__(self, width: int, a: float) -> None:
        super().__init__()
        self.branch = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.branch.weight, std=a / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def linear_residual(a: float, *, width: int = 128, depth: int = 8) -> tuple[nn.Module, Any]:
    """The network ``x + a G x / sqrt(n)``, block after block."""
    model = nn.Sequential(*(LinearBlock(width, a) for _ in range(depth)))
    return model.double(), torch.randn(INPUTS, width, dtype=torch.float64)


class Highway(nn.Module):
    def __init__(self, width: int = 24, depth: int = 5) -> None:
        super().__init__()
        self.plain = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        for gate in self.gates:
            nn.init.constant_(gate.bias, -2.0)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        for plain, gate in zip(self.plain, self.gates, strict=True):
            t = torch.sigmoid(gate(x))
            x = t * torch.relu(plain(x)) + (1 - t) * x
        return self.head(x)


class NeRF(nn.Module):
    """Coordinates in, colour out; the encoded coordinates enter once more halfway."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.arange(6).repeat(3, 1) * torch.eye(3).repeat(1, 2))
        self.first = nn.ModuleList(nn.Linear(i, width) for i in (12, width, width))
        self.second = nn.ModuleList(nn.Linear(i, width) for i in (width + 12, width))
        self.colour = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        angles = x @ self.frequencies
        encoded = torch.cat([angles.sin(), angles.cos()], dim=-1)
        h = encoded
        for layer in self.first:
            h = F.relu(layer(h))
        h = torch.cat([h, encoded], dim=-1)
        for layer in self.second:
            h = F.relu(layer(h))
        return self.colour(h)


class KAN(nn.Module):
    """A sum of splines on every edge; the parent holds all their coefficients."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, 6))
        self.coefficients = nn.ParameterList(
            torch.randn(i, o, 6) / math.sqrt(3 * i) for i, o in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        for coefficients in self.coefficients:
            bumps = torch.exp(-((x.unsqueeze(-1) - self.grid) ** 2))
            x = torch.einsum("big,iog->bo", bumps, coefficients)
        return x


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 24), nn.ReLU())
        self.mean = nn.Linear(24, 6)
        self.log_variance = nn.Linear(24, 6)
        self.decoder = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 20))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decoder(z), mean, log_variance


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 8)
        )

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return F.cosine_similarity(self.tower(left), self.tower(right), dim=-1)


class PolicyValue(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.policy = nn.Linear(32, 4)
        self.value = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.policy(h), self.value(h).squeeze(-1)


class CouplingFlow(nn.Module):
    """Real NVP: half of the vector moves the other half; the second output is ln |det J|."""

    def __init__(self, width: int = 8, depth: int = 4) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(width // 2, 24), nn.ReLU(), nn.Linear(24, width)) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for net in self.nets:
            kept, moved = x.chunk(2, dim=-1)
            scale, shift = net(kept).chunk(2, dim=-1)
            scale = torch.tanh(scale)
            x = torch.cat([moved * torch.exp(scale) + shift, kept], dim=-1)
            log_det = log_det + scale.sum(dim=-1)
        return x, log_det


class DeepSets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 24))
        self.all = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))

    def forward(self, points: Tensor) -> Tensor:
        return self.all(self.each(points).mean(dim=1))


class Equilibrium(nn.Module):
    """The fixed point of ``z = tanh(W z + U x)``, iterated: the input enters at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(10, 24)
        self.layer = nn.Linear(24, 24, bias=False)
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        entering = self.enter(x)
        z = torch.zeros_like(entering)
        for _ in range(6):
            z = torch.tanh(self.layer(z) + entering)
        return self.head(z)


class Hopfield(nn.Module):
    """Modern Hopfield retrieval: a state is replaced by the stored patterns that resemble it."""

    def __init__(self) -> None:
        super().__init__()
        self.patterns = nn.Parameter(torch.randn(12, 16))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.softmax(0.25 * (x @ self.patterns.T), dim=-1) @ self.patterns
        return x


class WithLoss(nn.Module):
    """Called with its labels, as models of the Hugging Face kind are."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 24), nn.GELU())
        self.head = nn.Linear(24, 4)

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(self.body(inputs))
        if labels is None:
            return {"logits": logits}
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class OnlyLoss(WithLoss):
    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        return F.cross_entropy(self.head(self.body(inputs)), labels)


class BatchedExperts(nn.Module):
    """Two of four experts answer each input; their matrices are parameters of this module."""

    def __init__(self, width: int = 16, experts: int = 4, hidden: int = 32) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, hidden) * math.sqrt(2 / width))
        self.down = nn.Parameter(torch.randn(experts, hidden, width) * math.sqrt(1 / hidden))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        weight, chosen = self.router(h).topk(2, dim=-1)
        hidden = torch.relu(torch.einsum("bw,bkwh->bkh", h, self.up[chosen]))
        answers = torch.einsum("bkh,bkhw->bkw", hidden, self.down[chosen])
        return x + (weight.softmax(dim=-1).unsqueeze(-1) * answers).sum(dim=1)


class ModuleExperts(nn.Module):
    """The same, with a module for each expert, called on the inputs that chose it."""

    def __init__(self, width: int = 16, experts: int = 4, hidden: int = 32) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(linear(width, hidden, 2.0), nn.ReLU(), linear(hidden, width, 1.0))
            for _ in range(experts)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        weight, chosen = self.router(h).topk(2, dim=-1)
        weight = weight.softmax(dim=-1)
        answers = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows, place = torch.where(chosen == number)
            answers = answers.index_add(0, rows, weight[rows, place, None] * expert(h[rows]))
        return x + answers


def experts(kind: type[nn.Module]) -> nn.Module:
    return nn.Sequential(linear(10, 16, 1.0), kind(), kind(), linear(16, 3, 1.0))


class GraphNetwork(nn.Module):
    """Messages along edges: the rows of `x` are the nodes of one graph, no samples of a batch."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.enter = nn.Linear(6, width)
        self.messages = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.updates = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = self.enter(x)
        source, target = edge_index
        for message, update in zip(self.messages, self.updates, strict=True):
            sent = F.relu(message(torch.cat([h[source], h[target]], dim=-1)))
            h = h + update(torch.zeros_like(h).index_add(0, target, sent))
        return self.head(h)


def _graph() -> tuple[Tensor, Tensor]:
    around = torch.arange(INPUTS)
    edges = torch.stack([around.repeat(2), torch.cat([(around + 1) % INPUTS, (around - 3) % INPUTS])])
    return torch.randn(INPUTS, 6), edges


def _autoencoder() -> nn.Module:
    widths, layers = (24, 16, 6, 16, 24), []
    for i, o in itertools.pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _normalised(how: Any) -> nn.Module:
    return nn.Sequential(
        how(nn.Linear(16, 24)), nn.Tanh(), how(nn.Linear(24, 24)), nn.Tanh(), nn.Linear(24, 4)
    )


_MLP = "Linear Tanh " * 5 + "Linear"
_HE = "Linear ReLU " * 8 + "Linear"

MODELS = {
    # nn.Linear draws weights and biases of variance 1/(3n): chi_perp is <tanh'^2> / 3 a layer, less than 1/81
    # over the four ratios of hidden layers: ordered.
    "mlp_functional": Known(lambda: mlp_as("functional"), _MLP.lower(), "ordered"),
    "mlp_matmul": Known(lambda: mlp_as("matmul"), "matmul add tanh " * 5 + "matmul add", "ordered"),
    "mlp_nested": Known(lambda: mlp_as("nested"), _MLP, "ordered"),
    # chi_perp = C_W <relu'^2> = 2/2 = 1: growth 1 over the 7 ratios of hidden layers, the read-out sets no
    # phase. The variance of a ln chi is 5/n, so the total is off by 4 sqrt(7 * 5 / 128) at most.
    "he_relu": Known(lambda: he_relu_as("module"), _HE, "critical", 1.0, 2.1),
    "he_relu_functional": Known(lambda: he_relu_as("functional"), _HE.lower(), "critical", 1.0, 2.1),
    # K = 1 behind the stem, and each branch adds 1 (normalised 1, times 2, halved by ReLU): K_l = 1 + l. A
    # branch divides a tangent by K_l and then passes it on as it does the signal: chi_perp = 1 + 1/K_l, so 5
    # over four blocks, a power of the depth. The stem is the first step.
    "residual_mlp": Known(
        with_batch(lambda: ResidualMLP(64, 4, post_norm=False), lambda: torch.randn(INPUTS, 12)),
        "Linear " + 4 * "sum " + "LayerNorm Linear",
        "critical",
        5.0,
        0.7,
    ),
    # chi_perp of a sum is 2, of the normalisation behind it 1/K = 1/2: growth 1 whatever the depth, 2 at the
    # last sum, which is the last step before the read-out.
    "residual_mlp_post_norm": Known(
        with_batch(lambda: ResidualMLP(64, 4, post_norm=True), lambda: torch.randn(INPUTS, 12)),
        "Linear " + 4 * "sum LayerNorm " + "Linear",
        "critical",
        2.0,
        0.8,
    ),
    # Each block multiplies K and chi_perp by 1 + a^2 = 1.25; 1.25^7 = 4.8 from the first sum to the eighth.
    "linear_residual": Known(lambda: linear_residual(0.5), "sum " * 8, "critical", 1.25**7, 0.9),
    # t = sigma(-2) = 0.12: y = 0.88 x + 0.12 relu(..), a factor 0.78 a block: 0.78^4 = 0.37 from sum to sum.
    "highway": Known(
        with_batch(Highway, lambda: torch.randn(INPUTS, 24)), "sum " * 5 + "Linear", "critical", 0.37, 0.5
    ),
    # The encoded coordinates reach the second concatenation past the first three layers.
    "nerf": Known(
        with_batch(NeRF, lambda: torch.rand(INPUTS, 3)), "matmul cat cat Linear relu Linear relu Linear"
    ),
    "kan": Known(
        with_batch(lambda: KAN(8, 16, 16, 3), lambda: torch.randn(INPUTS, 8)), "add pow neg exp einsum " * 3
    ),
    "autoencoder": Known(
        with_batch(_autoencoder, lambda: torch.randn(INPUTS, 24)), "Linear ReLU " * 3 + "Linear", "ordered"
    ),
    # Mean and log variance are two ways from the encoder to the code.
    "vae": Known(with_batch(VAE, lambda: torch.randn(INPUTS, 20)), "Linear ReLU sum Linear ReLU Linear"),
    "spectral_norm": Known(
        with_batch(
            lambda: _normalised(nn.utils.parametrizations.spectral_norm).eval(),
            lambda: torch.randn(INPUTS, 16),
        ),
        "Linear Tanh Linear Tanh Linear",
    ),
    "weight_norm": Known(
        with_batch(
            lambda: _normalised(nn.utils.parametrizations.weight_norm), lambda: torch.randn(INPUTS, 16)
        ),
        "Linear Tanh Linear Tanh Linear",
    ),
    # The chain of the left input; the right one has the same.
    "siamese": Known(
        with_batch(Siamese, lambda: (torch.randn(INPUTS, 10), torch.randn(INPUTS, 10))),
        "Linear ReLU Linear ReLU Linear cosine_similarity",
    ),
    "policy_value": Known(
        with_batch(PolicyValue, lambda: torch.randn(INPUTS, 8)), "Linear Tanh Linear Tanh Linear"
    ),
    # Between two concatenations the halves go apart. exp(s) and t are near 1 and 0.
    "coupling_flow": Known(with_batch(CouplingFlow, lambda: torch.randn(INPUTS, 8)), "cat " * 4, "critical"),
    "deep_sets": Known(
        with_batch(DeepSets, lambda: torch.randn(INPUTS, 7, 4)), "Linear ReLU Linear mean Linear ReLU Linear"
    ),
    # U x feeds every iteration: nothing between it and the last one is passed by all.
    "equilibrium": Known(with_batch(Equilibrium, lambda: torch.randn(INPUTS, 10)), "Linear sum tanh Linear"),
    "hopfield": Known(
        with_batch(Hopfield, lambda: 2 * torch.randn(INPUTS, 16)), "matmul mul softmax matmul " * 3
    ),
    # The first output is the loss; without labels it is the logits.
    "loss_and_logits": Known(
        with_batch(
            WithLoss, lambda: {"inputs": torch.randn(INPUTS, 12), "labels": torch.randint(0, 4, (INPUTS,))}
        ),
        "Linear GELU Linear GELU Linear",
    ),
    "only_loss": Known(
        with_batch(
            OnlyLoss, lambda: {"inputs": torch.randn(INPUTS, 12), "labels": torch.randint(0, 4, (INPUTS,))}
        ),
        "Linear GELU Linear GELU Linear cross_entropy",
    ),
    # K = 1, and each block adds the mean of two answers with K = 1: less than a factor 2.
    "experts_batched": Known(
        with_batch(lambda: experts(BatchedExperts), lambda: torch.randn(INPUTS, 10)),
        "Linear sum sum Linear",
        "critical",
    ),
    "experts_modules": Known(
        with_batch(lambda: experts(ModuleExperts), lambda: torch.randn(INPUTS, 10)),
        "Linear sum sum Linear",
        "critical",
    ),
    "graph_network": Known(with_batch(GraphNetwork, _graph), "Linear sum sum Linear", "critical"),
}
