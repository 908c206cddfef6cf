"""Gates on edges: closed forms, the slow obvious way beside them, and what cannot be gated."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from phasescope.errors import InputError, MemoryLimitError, NothingToMeasureError
from phasescope.synapses.edges import edges
from reference.edges import ablated, derivatives

MSE, CE = F.mse_loss, F.cross_entropy


class Residual(nn.Module):
    """A residual sum, written in one of the ways that people write it."""

    def __init__(self, width, way="out of place"):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
        self.way = way

    def forward(self, x):
        branch = self.f(x)
        if self.way == "in place":
            branch += x
            return branch
        if self.way == "difference":
            return x - branch
        return x + branch if self.way == "out of place" else torch.add(branch, x)


WAYS = ("out of place", "in place", "difference", "branch first")


def residual(blocks=4, seed=0, ways=WAYS):
    torch.manual_seed(seed)
    inner = [Residual(6, ways[n % len(ways)]) for n in range(blocks)]
    model = nn.Sequential(nn.Linear(5, 6), *inner, nn.Linear(6, 3)).double()
    x = torch.randn(64, 5, dtype=torch.float64)
    return model, x, torch.randint(0, 3, (64,))


def test_ablation_is_that_of_a_loop_that_zeroes_each_branch():
    model, x, y = residual()
    found = edges(model, CE, (x, y), path=True)
    paths = [f"{n}.f" for n in range(1, 5)]
    assert found.names == tuple(f"{n} (sum)" for n in range(1, 5))
    assert set(found.kinds) == {"branch"}
    np.testing.assert_allclose(found.change, ablated(model, paths, CE, x, y), atol=1e-14)
    np.testing.assert_allclose(found.path, found.change, atol=1e-6)
    gradient, hessian = derivatives(model, paths, CE, x, y)
    np.testing.assert_allclose(found.first, -gradient, atol=1e-14)
    exact = (-gradient + hessian.diagonal() / 2).numpy()
    # One signs' error, without the sampling error that the column states: over seeds.
    draws = np.array([edges(model, CE, (x, y), seed=seed).second for seed in range(6)])
    apart = np.abs(draws.mean(axis=0) - exact)
    assert np.all(apart < 4 * draws.std(axis=0, ddof=1) / 6**0.5)
    assert np.all(draws.std(axis=0) < found.second_error)


def test_errors_are_those_of_paired_differences_over_samples():
    model, x, y = residual()
    found = edges(model, CE, (x[:32], y[:32]))
    with torch.no_grad():
        whole = CE(model(x[:32]), y[:32], reduction="none")
        model[1].f[2].weight.zero_()
        model[1].f[2].bias.zero_()
        apart = (CE(model(x[:32]), y[:32], reduction="none") - whole).numpy()
    assert found.change[0] == pytest.approx(apart.mean())
    assert found.change_error[0] == pytest.approx(apart.std(ddof=1) / 32**0.5)
    assert found.loss.value == pytest.approx(whole.mean().item())
    assert found.loss.error == pytest.approx(whole.std().item() / 32**0.5)


class Graph(nn.Module):
    """Rectified units on a directed graph without biases: 4 nodes between input and output, and shortcuts."""

    EDGES = ("0-1", "0-2", "1-2", "1-3", "2-3", "0-4", "3-4", "2-4")

    def __init__(self):
        super().__init__()
        self.edges = nn.ModuleDict({edge: nn.Linear(7, 7, bias=False) for edge in self.EDGES})

    def forward(self, x):
        values = [x]
        for node in range(1, 5):
            into = [edge for edge in self.EDGES if edge.endswith(f"-{node}")]
            total = sum(self.edges[edge](values[int(edge[0])]) for edge in into)
            values.append(total if node == 4 else torch.relu(total))
        return values[-1]


def cuts():
    """Each set of nodes with the input and without the output, as the edges that leave it."""
    for bits in range(8):
        inside = {0} | {node for node in (1, 2, 3) if bits >> (node - 1) & 1}
        yield [e for e in Graph.EDGES if int(e[0]) in inside and int(e[2]) not in inside], inside


def test_gradients_over_every_cut_of_a_rectified_graph_sum_to_f_times_its_gradient():
    torch.manual_seed(3)
    graph = Graph().double()
    x, y = torch.randn(40, 7, dtype=torch.float64), torch.randn(40, 7, dtype=torch.float64)
    found = edges(graph, MSE, (x, y), edges=[f"edges.{edge}" for edge in Graph.EDGES])
    gradient = dict(zip(Graph.EDGES, -found.first, strict=True))
    f = graph(x).detach().requires_grad_()
    (pulled,) = torch.autograd.grad(MSE(f, y), f)
    expected = (f * pulled).sum().item()
    tried = 0
    for cut, inside in cuts():
        back = any(int(e[0]) not in inside and int(e[2]) in inside for e in Graph.EDGES)
        if not back:
            tried += 1
            assert sum(gradient[edge] for edge in cut) == pytest.approx(expected, rel=1e-12)
    assert tried == 4
    graph.edges["1-2"].bias = nn.Parameter(torch.ones(7, dtype=torch.float64))
    ends = [
        [f"edges.{edge}" for edge in Graph.EDGES if edge[place] == node]
        for place, node in ((0, "0"), (2, "4"))
    ]
    begin, end = (edges(graph, MSE, (x, y), edges=names).first.sum() for names in ends)
    assert abs(begin - end) > 1e-3  # with a bias the sums differ, rightly


class Features(nn.Module):
    """A sum of orthonormal features of the data, each the output of one module."""

    def __init__(self, coefficients):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(1, 1, bias=False).double() for _ in coefficients)
        with torch.no_grad():
            for part, c in zip(self.parts, coefficients, strict=True):
                part.weight.fill_(c)

    def forward(self, x):
        return sum(part(x[:, n : n + 1]) for n, part in enumerate(self.parts))


def test_orthonormal_features_cost_half_their_square_and_go_in_that_order():
    coefficients = np.array([0.3, -2.0, 1.2, -0.7, 0.05])
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 5)))
    x = torch.from_numpy(q) * 8.0  # mean square 1
    model = Features(coefficients)
    y = model(x).detach()
    found = edges(
        model, lambda f, t: ((f - t) ** 2).mean() / 2, (x, y), edges=[f"parts.{n}" for n in range(5)]
    )
    np.testing.assert_allclose(found.change, coefficients**2 / 2, rtol=1e-10)
    np.testing.assert_allclose(found.first, 0, atol=1e-12)
    assert np.all(np.abs(found.second - coefficients**2 / 2) < 4 * found.second_error)
    assert found.order.tolist() == np.argsort(np.abs(coefficients)).tolist()
    # The minimiser of the loss with a penalty lambda on |a c| keeps sign(c) max(|c| - lambda, 0).
    lost = np.concatenate([[0], np.cumsum(np.sort(coefficients**2) / 2)])
    np.testing.assert_allclose(found.curve, lost, rtol=1e-10)
    assert np.all(found.random.mean(axis=0)[1:-1] > np.interp(found.sizes, range(6), lost)[1:-1])
    assert found.random[:, -1] == pytest.approx(lost[-1])


class Attentive(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 4, batch_first=batch_first)
        self.head = nn.Linear(12, 3)
        self.first = batch_first

    def forward(self, x):
        x = x if self.first else x.transpose(0, 1)
        mixed, _ = self.attention(x, x, x)
        return self.head(mixed.mean(1 if self.first else 0))


def sequences():
    torch.manual_seed(5)
    return torch.randn(48, 6, 12, dtype=torch.float64), torch.randint(0, 3, (48,))


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_head_that_does_nothing_changes_nothing(batch_first):
    x, y = sequences()
    model = Attentive(batch_first).double()
    with torch.no_grad():
        model.attention.out_proj.weight[:, 6:9] = 0  # what the third head gives is thrown away
    found = edges(model, CE, (x, y), path=True)
    assert found.names == tuple(f"attention (head {head})" for head in range(4))
    for column in (found.change, found.first, found.second, found.path):
        assert column[2] == pytest.approx(0, abs=1e-15)
        assert np.all(np.abs(np.delete(column, 2)) > 1e-6)
    assert found.order[0] == 2 or found.change[found.order[0]] < 0
    with torch.no_grad():
        base = CE(model(x), y).item()
        model.attention.out_proj.weight[:, :3] = 0
        assert found.change[0] == pytest.approx(CE(model(x), y).item() - base, abs=1e-14)


class OwnAttention(nn.Module):
    """Heads side by side in front of a projection, as in many packages."""

    def __init__(self, kind):
        super().__init__()
        self.num_heads, self.kind = 3, kind
        self.qkv = nn.Linear(12, 36)
        if kind == "projection":
            self.c_proj = nn.Linear(12, 12)
        else:
            self.all_head_size = 12

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (3, 4)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.c_proj(mixed) if self.kind == "projection" else (mixed, None)


class WithOwn(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.block, self.dense, self.head = OwnAttention(kind), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        mixed = self.block(x)
        mixed = mixed if isinstance(mixed, torch.Tensor) else self.dense(mixed[0])
        return self.head((x + mixed).mean(1))


@pytest.mark.parametrize("kind", ["projection", "side by side"])
def test_heads_in_front_of_a_projection_are_found(kind):
    x, y = sequences()
    torch.manual_seed(1)
    model = WithOwn(kind).double()
    found = edges(model, CE, (x, y), edges="heads")
    assert found.names == tuple(f"block (head {head})" for head in range(3))
    weights = model.block.c_proj.weight if kind == "projection" else model.dense.weight
    with torch.no_grad():
        base = CE(model(x), y).item()
        weights[:, 4:8] = 0
        assert found.change[1] == pytest.approx(CE(model(x), y).item() - base, abs=1e-14)
    both = edges(model, CE, (x, y)).names
    assert both[:3] == found.names
    assert len(both) == 4


def test_many_edges_are_ranked_to_second_order_and_the_smallest_removed_exactly():
    model, x, y = residual(blocks=6)
    found = edges(model, CE, (x, y), exact_up_to=2)
    known = np.isfinite(found.change)
    assert set(np.flatnonzero(known)) == set(np.argsort(found.second)[:2])
    whole = edges(model, CE, (x, y))
    np.testing.assert_allclose(found.change[known], whole.change[known], atol=1e-15)
    assert len(found.order) == 2
    assert any("6 edges" in note for note in found.notes)


def test_small_memory_runs_samples_in_parts_with_the_same_numbers():
    model, x, y = residual()
    x, y = x.repeat(4, 1), y.repeat(4)
    whole, parts = edges(model, CE, (x, y)), edges(model, CE, (x, y), max_memory=60_000)
    for name in ("change", "first", "curve"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)
    assert np.all(np.abs(parts.second - whole.second) < 4 * whole.second_error)
    with pytest.raises(MemoryLimitError):
        edges(model, CE, (x, y), max_memory=1)


def test_batch_statistics_couple_samples_and_signs_are_then_shared():
    torch.manual_seed(0)
    inner = [nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)) for _ in range(2)]
    blocks = [Residual(6), Residual(6)]
    for block, f in zip(blocks, inner, strict=True):
        block.f = f
    model = nn.Sequential(*blocks, nn.Linear(6, 3)).double()
    x, y = torch.randn(64, 6, dtype=torch.float64), torch.randint(0, 3, (64,))
    before = copy.deepcopy(model.state_dict())
    found = edges(model, CE, (x, y))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    paths = ["0.f", "1.f"]
    gradient, hessian = derivatives(model, paths, CE, x, y)
    np.testing.assert_allclose(found.first, -gradient, atol=1e-13)
    exact = (-gradient + hessian.diagonal() / 2).numpy()
    assert np.all(np.abs(found.second - exact) < 4 * found.second_error)
    assert any("shared" in note for note in found.notes)


def test_a_loss_that_is_no_mean_over_samples_leaves_everything_undetermined():
    model, x, y = residual()
    found = edges(model, lambda f, t: CE(f, t).sqrt() + f.std(), (x, y))
    assert "add up" in found.missing
    assert set(found.verdicts) == {"not determined"}
    assert found.removable == 0


def test_a_flat_loss_and_few_samples_determine_nothing():
    model, x, y = residual()
    few = edges(model, CE, (x[:20], y[:20]))
    assert "20 samples" in few.missing
    assert set(few.verdicts) == {"not determined"}
    assert edges(model, CE, (x, y), edges="branches").missing == ""
    with torch.no_grad():
        model[-1].weight.zero_()
    assert "flat" in edges(model, CE, (x, y)).missing


class Dictionary(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.block, self.out = nn.Linear(4, 1), Residual(1), nn.Linear(1, 2)
        self.out.weight = nn.Parameter(self.inside.weight[:, :2].T.detach().clone())
        self.inside_again = self.inside  # one module under two names

    def forward(self, left, right):
        return {"scores": self.out(self.block(self.inside_again(left * right)))}


def test_dictionaries_tied_weights_and_layers_of_one_unit_are_taken():
    torch.manual_seed(2)
    model = Dictionary()
    x = {"left": torch.randn(40, 4), "right": torch.randn(40, 4)}
    y = torch.randint(0, 2, (40,))
    found = edges(model, lambda f, t: CE(f["scores"], t), (x, y))
    assert found.names == ("block (sum)",)
    assert np.isfinite(found.change).all()
    assert 0 <= found.accuracy <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": 3.0}, "cannot be called"),
        ({"loss": lambda f, t: f}, "not one number"),
        ({"loss": lambda f, t: CE(f, t.double().sum())}, "does not accept"),
        ({"data": torch.ones(4, 5)}, "without targets"),
        ({"data": (torch.ones(4, 5, dtype=torch.float64), torch.ones(3))}, "lengths of the targets"),
        ({"edges": ["nowhere"]}, "no edge or module 'nowhere'"),
        ({"edges": "heads"}, "No attention head"),
        ({"exact_up_to": 0}, "exact_up_to = 0"),
    ],
)
def test_bad_input_is_refused_by_name(change, words):
    model, x, y = residual()
    given = {"loss": CE, "data": (x, y)} | change
    with pytest.raises(InputError, match=words):
        edges(model, given.pop("loss"), given.pop("data"), **given)


def test_nan_weights_and_models_without_edges_are_refused():
    model, x, y = residual()
    with pytest.raises(NothingToMeasureError, match="No residual branch and no attention head"):
        edges(model[0], CE, (x, torch.zeros(64, dtype=torch.long)))
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="loss is nan"):
        edges(model, CE, (x, y))


def test_the_model_stays_bit_identical_with_its_hooks_and_modes():
    x, y = sequences()
    model = Attentive().double().train()
    model.head.register_forward_hook(lambda *_: None)
    before, hooks = copy.deepcopy(model.state_dict()), len(model.head._forward_hooks)
    projection = model.attention.out_proj.weight
    random = torch.get_rng_state()
    edges(model, CE, (x, y), max_memory="1GB")
    assert model.attention.out_proj.weight is projection
    assert projection.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert list(model.state_dict()) == list(before)
    assert len(model.head._forward_hooks) == hooks
    assert not model.attention._forward_hooks
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
